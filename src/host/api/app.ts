/** The API (docs/api.md): routes on the host's parts. Paths, methods and status codes are here, nothing else. */
import type { Context } from "hono";
import { Hono } from "hono/tiny";
import { messageOf } from "../../base/errors.ts";
import { isAuthorized } from "../auth/token.ts";
import type { EventLog } from "../events/events.ts";
import { RequestError } from "../http/errors.ts";
import { type Exchange, errorResponse } from "../http/server.ts";
import type { HostFacts } from "../inventory/host.ts";
import type { Platform } from "../platform/platform.ts";
import type { HostPower } from "../power/host-power.ts";
import type { ImageWork } from "../storage/image-work.ts";
import type { ImageStore } from "../storage/images.ts";
import type { TaskList } from "../tasks/tasks.ts";
import { relayConsole } from "../vms/console.ts";
import type { VmManager } from "../vms/manager.ts";
import { relayVnc, VNC_SUBPROTOCOL } from "../vms/vnc.ts";
import { checked, readJson } from "./read.ts";
import {
  checkRequest,
  convertRequest,
  diskRequest,
  eventsQuery,
  freezeRequest,
  keysRequest,
  resizeRequest,
  shutdownRequest,
  vmChange,
  vmRequest,
  waitQuery,
} from "./schemas.ts";

/** What the API is about. */
export interface HostParts {
  readonly platform: Platform;
  readonly token: string;
  readonly images: ImageStore;
  readonly imageWork: ImageWork;
  readonly vms: VmManager;
  readonly tasks: TaskList;
  readonly events: EventLog;
  readonly power: HostPower;
  facts(): HostFacts;
}

type Env = { Bindings: Exchange };
type Call = Context<Env>;

export function createApp(host: HostParts): Hono<Env> {
  const app = new Hono<Env>();
  app.onError((error, c) => {
    if (!(error instanceof RequestError)) {
      host.platform.log.error(`${c.req.method} ${c.req.path}: ${messageOf(error)}`);
    }
    return errorResponse(error);
  });
  app.notFound((c) =>
    errorResponse(
      new RequestError(
        404,
        "not_found",
        `There is no ${c.req.method} ${c.req.path}. docs/api.md lists what there is.`,
      ),
    ),
  );
  app.use("*", async (c, next) => {
    if (!isAuthorized(c.req.header("authorization") ?? null, host.token)) {
      const advice = 'Send "Authorization: Bearer TOKEN" with the token from the host\'s console.';
      throw new RequestError(401, "unauthorized", `The request carries no valid token. ${advice}`);
    }
    await next();
  });
  hostRoutes(app, host);
  imageRoutes(app, host);
  vmRoutes(app, host);
  followRoutes(app, host);
  return app;
}

function hostRoutes(app: Hono<Env>, host: HostParts): void {
  app.get("/api/v1/host", (c) => c.json(host.facts()));
  app.post("/api/v1/host/actions/power-off", (c) => c.json(host.power.start("power-off"), 202));
  app.post("/api/v1/host/actions/restart", (c) => c.json(host.power.start("restart"), 202));
}

function imageRoutes(app: Hono<Env>, { images, imageWork, vms }: HostParts): void {
  app.get("/api/v1/images", (c) => c.json({ items: images.list() }));
  app.post("/api/v1/images", async (c) => {
    const { name, sizeBytes, format, backing } = await readJson(c.req.raw, diskRequest);
    if (format === "qcow2") return c.json(await imageWork.createQcow2(name, sizeBytes, backing), 201);
    return c.json(images.create(name, sizeBytes as number), 201);
  });
  app.put("/api/v1/images/:name", async (c) => {
    const name = parameter(c, "name");
    const mayCommit = () => vms.checkImageUnused(name, true);
    mayCommit();
    const length = c.req.header("content-length");
    const reader = c.req.raw.body?.getReader();
    const source = async () => {
      const piece = await reader?.read();
      return piece === undefined || piece.done ? null : piece.value;
    };
    return c.json(
      await images.upload(name, source, length === undefined ? null : Number(length), mayCommit),
      201,
    );
  });
  app.get("/api/v1/images/:name", (c) => c.json(images.get(parameter(c, "name"))));
  app.get("/api/v1/images/:name/content", (c) => {
    const { sizeBytes, read, close } = images.content(parameter(c, "name"));
    const body = new ReadableStream<Uint8Array>(
      {
        async pull(controller) {
          const piece = await read();
          if (piece === null) controller.close();
          else controller.enqueue(piece);
        },
        cancel: close,
      },
      { highWaterMark: 0 },
    );
    const headers = { "content-type": "application/octet-stream", "content-length": String(sizeBytes) };
    return new Response(body, { headers });
  });
  app.post("/api/v1/images/:name/actions/convert", async (c) =>
    c.json(imageWork.convert(parameter(c, "name"), await readJson(c.req.raw, convertRequest)), 202),
  );
  app.post("/api/v1/images/:name/actions/resize", async (c) => {
    const { sizeBytes } = await readJson(c.req.raw, resizeRequest);
    return c.json(imageWork.resize(parameter(c, "name"), sizeBytes), 202);
  });
  app.post("/api/v1/images/:name/actions/check", async (c) => {
    const { repair } = await readJson(c.req.raw, checkRequest, {});
    return c.json(imageWork.check(parameter(c, "name"), repair), 202);
  });
  app.delete("/api/v1/images/:name", (c) => {
    const name = parameter(c, "name");
    images.get(name);
    vms.checkImageUnused(name, false);
    images.delete(name);
    return new Response(null, { status: 204 });
  });
}

function vmRoutes(app: Hono<Env>, { platform, vms }: HostParts): void {
  const vmOf = (c: Call) => vms.get(parameter(c, "id"));
  app.get("/api/v1/vms", (c) => c.json({ items: vms.list().map((vm) => vm.view()) }));
  app.post("/api/v1/vms", async (c) => c.json(vms.create(await readJson(c.req.raw, vmRequest)).view(), 201));
  app.get("/api/v1/vms/:id", async (c) => c.json(await vmOf(c).freshView()));
  app.patch("/api/v1/vms/:id", async (c) => {
    const change = await readJson(c.req.raw, vmChange);
    const vm = vmOf(c);
    await vm.change(change);
    return c.json(vm.view());
  });
  app.delete("/api/v1/vms/:id", (c) => {
    vms.delete(vmOf(c).id);
    return new Response(null, { status: 204 });
  });
  app.post("/api/v1/vms/:id/actions/start", (c) => c.json(vms.start(parameter(c, "id")), 202));
  app.post("/api/v1/vms/:id/actions/shutdown", async (c) => {
    const { timeoutMs, mode } = await readJson(c.req.raw, shutdownRequest, {});
    return c.json(vmOf(c).shutdown(timeoutMs, mode), 202);
  });
  app.post("/api/v1/vms/:id/guest/freeze", async (c) => {
    const { timeoutMs } = await readJson(c.req.raw, freezeRequest, {});
    return c.json({ fileSystems: await vmOf(c).askGuest((agent) => agent.freeze(timeoutMs)) });
  });
  app.post("/api/v1/vms/:id/guest/thaw", async (c) =>
    c.json({ fileSystems: await vmOf(c).askGuest((agent) => agent.thaw()) }),
  );
  app.post("/api/v1/vms/:id/actions/pause", (c) => c.json(vmOf(c).pause(), 202));
  app.post("/api/v1/vms/:id/actions/resume", (c) => c.json(vmOf(c).resume(), 202));
  app.post("/api/v1/vms/:id/actions/reset", (c) => c.json(vmOf(c).reset(), 202));
  app.post("/api/v1/vms/:id/actions/force-off", (c) => c.json(vmOf(c).forceOff(), 202));
  app.post("/api/v1/vms/:id/actions/send-keys", async (c) => {
    const chords = await readJson(c.req.raw, keysRequest);
    await vmOf(c).sendKeys(chords);
    return new Response(null, { status: 204 });
  });
  app.get("/api/v1/vms/:id/statistics", async (c) => c.json(await vmOf(c).statistics()));
  app.get("/api/v1/vms/:id/console", (c) => {
    const vm = vmOf(c);
    const socketPath = () => vm.serialSocket;
    socketPath(); // an error is answered before the connection becomes a WebSocket
    return c.env.upgrade((socket) => relayConsole(platform, socket, socketPath));
  });
  app.get("/api/v1/vms/:id/vnc", async (c) => {
    const display = await vmOf(c).connectDisplay();
    try {
      return c.env.upgrade((socket) => relayVnc(display, socket), VNC_SUBPROTOCOL);
    } catch (error) {
      display.close();
      throw error;
    }
  });
}

function followRoutes(app: Hono<Env>, { tasks, events }: HostParts): void {
  app.get("/api/v1/tasks", (c) => c.json({ items: tasks.list() }));
  app.get("/api/v1/tasks/:id", async (c) => {
    const { waitMs } = checked(waitQuery, c.req.query());
    return c.json(await tasks.wait(parameter(c, "id"), waitMs));
  });
  app.get("/api/v1/events", async (c) => {
    const { after, waitMs } = checked(eventsQuery, c.req.query());
    return c.json({ items: await events.after(after, waitMs) });
  });
}

function parameter(c: Call, name: string): string {
  return c.req.param(name as never) ?? "";
}
