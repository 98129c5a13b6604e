// SPDX-License-Identifier: Apache-2.0
// An unmodified @tus/server that keeps files in a directory. Arguments, as JSON: directory, port (0: any).
// Prints one JSON line when it listens, and one for each upload that is complete.
import { FileStore } from "@tus/file-store";
import { EVENTS, Server } from "@tus/server";

const options = JSON.parse(process.argv[2]);
const server = new Server({ path: "/files", datastore: new FileStore({ directory: options.directory }) });

server.on(EVENTS.POST_FINISH, (request, response, upload) => {
  console.log(JSON.stringify({ id: upload.id, size: upload.size, metadata: upload.metadata }));
});
const listening = server.listen({ host: "127.0.0.1", port: options.port }, () => {
  console.log(JSON.stringify({ port: listening.address().port }));
});
