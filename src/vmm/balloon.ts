/** The machine's memory balloon: what a configuration asks of it, and how pages go back to the host. */
import { messageOf } from "../base/errors.ts";
import { giveBack } from "../sys/memory.ts";
import type { VmmConfig } from "./config.ts";
import type { Clock } from "./contract.ts";
import type { GuestMemory } from "./memory/guest-memory.ts";
import { VirtioBalloon } from "./virtio/balloon/device.ts";

const STATISTICS_SECONDS = 10;

interface BalloonParts {
  readonly memory: GuestMemory;
  readonly clock: Clock;
  readonly complaints: (message: string) => void;
}

export function makeBalloon({ memory: config = {} }: VmmConfig, parts: BalloonParts): VirtioBalloon {
  const { memory, clock, complaints } = parts;
  return new VirtioBalloon({
    name: "virtio-balloon",
    memory,
    clock,
    release: (address, length) => {
      try {
        giveBack(memory.hostAddress(address), length);
      } catch (error) {
        complaints(`the guest's memory cannot be given back: ${messageOf(error)}`);
      }
    },
    targetBytes: config.balloonTargetBytes ?? 0,
    reporting: config.freePageReporting ?? true,
    statisticsMs: (config.statisticsSeconds ?? STATISTICS_SECONDS) * 1000,
  });
}
