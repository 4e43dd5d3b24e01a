/**
 * The DHCP client: runs the state machine over a packet socket on one interface.
 *
 * Everything goes through the packet socket, renewals too: sent to the link's broadcast address with the host's own
 * source address, they reach the server without depending on the host's routes.
 */
import { AF_PACKET, packetAddress, parseIPv4 } from "../../../sys/address.ts";
import { monotonicMs } from "../../../sys/clock.ts";
import { close } from "../../../sys/fs.ts";
import { EPOLLIN, type EventLoop, type Watch } from "../../../sys/loop.ts";
import { fillRandom } from "../../../sys/random.ts";
import { bind, receiveFrom, SOCK_DGRAM, sendTo, socket } from "../../../sys/socket.ts";
import { DhcpType, decodeReply, encodeRequest } from "./message.ts";
import { decodePacket, encodePacket } from "./packet.ts";
import { begin, type DhcpAction, type DhcpState, type DhcpStep, type Lease, transition } from "./state.ts";

const ETH_P_IP = 0x0800;
const BROADCAST_MAC = Uint8Array.of(255, 255, 255, 255, 255, 255);
const PACKET_MAX_BYTES = 1600;
/** Each packet is taken off the socket at once; this bounds a flood of them within one turn of the loop. */
const PACKETS_PER_TURN = 64;

export interface DhcpClientOptions {
  readonly loop: EventLoop;
  readonly interfaceIndex: number;
  readonly mac: Uint8Array;
  readonly hostName: string;
  /** A lease kept from before, to go on with; its times are on this boot's monotonic clock. */
  readonly lease: Lease | null;
  /** A new or renewed lease, or null when there is none any more. */
  readonly onLease: (lease: Lease | null) => void;
}

export class DhcpClient {
  readonly #options: DhcpClientOptions;
  readonly #fd: number;
  readonly #watch: Watch;
  readonly #buffer = new Uint8Array(PACKET_MAX_BYTES);
  readonly #startedMs = monotonicMs();
  readonly #xid: number;
  #state: DhcpState;
  #cancelTimer: () => void = () => {};

  constructor(options: DhcpClientOptions) {
    this.#options = options;
    const random = new Uint32Array(1);
    fillRandom(new Uint8Array(random.buffer));
    this.#xid = random[0] as number;
    this.#fd = socket(AF_PACKET, SOCK_DGRAM, ((ETH_P_IP & 0xff) << 8) | (ETH_P_IP >> 8));
    bind(this.#fd, packetAddress(options.interfaceIndex, ETH_P_IP), "packet socket");
    this.#watch = options.loop.watch(this.#fd, EPOLLIN, () => this.#receive());
    const first = begin();
    this.#state = first.state;
    if (options.lease === null) {
      this.#apply(first);
    } else {
      this.#state = { name: "bound", lease: options.lease };
      this.#timeout();
    }
  }

  close(): void {
    this.#cancelTimer();
    this.#watch.close();
    close(this.#fd);
  }

  #receive(): void {
    for (let i = 0; i < PACKETS_PER_TURN; i++) {
      const size = receiveFrom(this.#fd, this.#buffer);
      if (size < 0) return;
      const payload = decodePacket(this.#buffer.subarray(0, size));
      const reply = payload === null ? null : decodeReply(payload, this.#options.mac);
      if (reply === null || reply.xid !== this.#xid) continue;
      const step = transition(this.#state, { kind: "reply", reply }, monotonicMs());
      if (step !== null) this.#apply(step);
    }
  }

  #timeout(): void {
    const step = transition(this.#state, { kind: "timeout" }, monotonicMs());
    if (step !== null) this.#apply(step);
  }

  #apply(step: DhcpStep): void {
    this.#state = step.state;
    this.#cancelTimer();
    this.#cancelTimer = this.#options.loop.after(this.#jittered(step.timeoutMs), () => this.#timeout());
    for (const action of step.actions) this.#act(action);
  }

  /** A little early or late, so that a rack powered on at once does not ask at once (RFC 2131, section 4.1). */
  #jittered(timeoutMs: number): number {
    const byte = new Uint8Array(1);
    fillRandom(byte);
    return timeoutMs * (0.95 + ((byte[0] as number) / 255) * 0.1);
  }

  #act(action: DhcpAction): void {
    switch (action.kind) {
      case "discover":
        this.#send({ type: DhcpType.discover });
        break;
      case "request": {
        const { address, server } = action.offer;
        this.#send({ type: DhcpType.request, requestedAddress: address, server });
        break;
      }
      case "renew":
        this.#send({ type: DhcpType.request, ciaddr: action.lease.address });
        break;
      case "configure":
        this.#options.onLease(action.lease);
        break;
      case "deconfigure":
        this.#options.onLease(null);
        break;
    }
  }

  #send(fields: { type: number; requestedAddress?: string; server?: string; ciaddr?: string }): void {
    const { mac, hostName, interfaceIndex } = this.#options;
    const elapsedSeconds = Math.floor((monotonicMs() - this.#startedMs) / 1000);
    const message = encodeRequest({ ...fields, xid: this.#xid, mac, hostName, elapsedSeconds });
    const packet = encodePacket(message, parseIPv4(fields.ciaddr ?? "0.0.0.0"));
    // A full or downed link loses it as the wire would; the timer sends it again.
    sendTo(this.#fd, packet, packetAddress(interfaceIndex, ETH_P_IP, BROADCAST_MAC));
  }
}
