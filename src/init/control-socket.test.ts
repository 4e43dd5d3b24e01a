import assert from "node:assert/strict";
import { test } from "node:test";
import { parseRequest } from "./control-socket.ts";

test("requests are told from anything else", () => {
  assert.equal(parseRequest('{"op":"power-off"}'), "power-off");
  assert.equal(parseRequest('{"op":"restart"}'), "restart");
  for (const line of ["", "{", "null", "[]", '"power-off"', '{"op":"halt"}', '{"op":["restart"]}']) {
    assert.equal(parseRequest(line), null, line);
  }
});
