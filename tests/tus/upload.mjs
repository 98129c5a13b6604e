// SPDX-License-Identifier: Apache-2.0
// Uploads a file with an unmodified tus-js-client. Prints one JSON object: what happened. Arguments, as JSON:
//   endpoint, file, token, sha256, chunkSize   what to upload, and where
//   abortAt      stop once so many bytes have been accepted; without `again` the program ends there
//   again        start once more after the abort, with the same client
//   uploadUrl    resume this upload, in a new process
import fs from "node:fs";
import * as tus from "tus-js-client";

const options = JSON.parse(process.argv[2]);
const told = { requests: [], statuses: [], acceptedFirst: null, aborted: false, done: false, error: null, url: null };

function finish() {
  told.url = upload.url;
  console.log(JSON.stringify(told));
  process.exit(told.error ? 1 : 0);
}

const upload = new tus.Upload(fs.readFileSync(options.file), {
  endpoint: options.endpoint,
  uploadUrl: options.uploadUrl ?? null,
  headers: { Authorization: `Bearer ${options.token}` },
  metadata: { filename: "photo.jpg", sha256: options.sha256 },
  chunkSize: options.chunkSize ?? Infinity,
  retryDelays: options.retryDelays ?? [0, 50, 100],
  overridePatchMethod: options.overridePatchMethod ?? false,
  onBeforeRequest: (request) => told.requests.push(request.getMethod()),
  onAfterResponse: (request, response) => told.statuses.push(response.getStatus()),
  onChunkComplete: (chunkSize, accepted) => {
    told.acceptedFirst ??= accepted - chunkSize;
    if (options.abortAt && !told.aborted && accepted >= options.abortAt) {
      told.aborted = true;
      upload.abort().then(() => (options.again ? upload.start() : finish()));
    }
  },
  onSuccess: () => {
    told.done = true;
    finish();
  },
  onError: (error) => {
    told.error = String(error);
    finish();
  },
});
upload.start();
