/** `npm run build`: the image and the ROM, with progress. */
import { messageOf } from "../base/errors.ts";
import { buildProduct } from "./product.ts";
import { Progress } from "./progress.ts";

const progress = new Progress();
try {
  const product = await buildProduct(progress);
  progress.say(`  image ${product.image} ${product.imageBytes} bytes, flash ${product.romBytes} bytes`);
} catch (error) {
  process.stderr.write(`${messageOf(error)}\n`);
  process.exitCode = 1;
}
