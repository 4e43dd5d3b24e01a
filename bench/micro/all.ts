/** All that run.ts shows, in one program. Runs on Node too: node --import tsx bench/micro/all.ts */
import { measureExits } from "./exits.ts";
import { measurePackets } from "./packets.ts";
import { measureBlock } from "./virtqueue.ts";

measureBlock();
measureExits();
measurePackets();
