// Writes what one of Node's decoders, or of npm's, reads: node read.mjs READER FILE.
import { createReadStream, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pipeline } from "node:stream/promises";
import { createGunzip, gunzipSync } from "node:zlib";

const [reader, path] = process.argv.slice(2);
// The packages are where readers_deps.sh has put them.
const load = createRequire(`${process.env.READERS}/node/`);
const out = (data) => process.stdout.write(data);
const readers = {
  gunzipSync: () => out(gunzipSync(readFileSync(path))),
  createGunzip: () => pipeline(createReadStream(path), createGunzip(), process.stdout),
  DecompressionStream: async () => {
    const blob = new Blob([readFileSync(path)]).stream();
    for await (const piece of blob.pipeThrough(new DecompressionStream("gzip"))) out(piece);
  },
  fzstd: () => out(load("fzstd").decompress(readFileSync(path))),
};
await readers[reader]();
