import assert from "node:assert/strict";
import { test } from "node:test";
import { ThimbleError } from "../base/errors.ts";
import { EIO, ENOSPC, SystemError } from "../sys/errno.ts";
import { jobError } from "./image-job.ts";

test("a failed job says what to do, and nothing of the host's own paths", () => {
  const full = jobError(new SystemError(ENOSPC, "write", "/run/secret/.upload-1"));
  assert.equal(full.code, "datastore_full");
  assert.doesNotMatch(full.message, /secret/);
  const failed = jobError(new SystemError(EIO, "write", "/run/secret/.upload-1"));
  assert.deepEqual(failed, { code: "io_error", message: "The datastore failed: input/output error." });
  assert.deepEqual(jobError(new ThimbleError("bad_image", "The image is damaged.")), {
    code: "bad_image",
    message: "The image is damaged.",
  });
});
