#!/usr/bin/env node
// The `thimble` command. TypeScript is run as it is; paths on the command line are relative to where it is called.
import { register } from "tsx/esm/api";

register();
await import("../src/cli/main.ts");
