// SPDX-License-Identifier: Apache-2.0
// PouchDB as scripts/bench delivery runs it, both ends; its packages are found through NODE_PATH.
//
//   node pouch.js seed DIRECTORY FILE        puts the findings of an NDJSON file into a database
//   node pouch.js send DIRECTORY URL         replicates it to a server, again and again, and what comes later too
//   node pouch.js receive DIRECTORY ADDRESS PORT CERTIFICATE KEY      is that server
'use strict';

const fs = require('fs');
const https = require('https');
const path = require('path');
const PouchDB = require('pouchdb');

const BATCH = 500;

async function seed(directory, file) {
    const database = new PouchDB(directory);
    const findings = fs.readFileSync(file, 'utf8').trim().split('\n').map((line) => {
        const {id, ...finding} = JSON.parse(line);
        return {_id: id, ...finding};
    });
    for (let i = 0; i < findings.length; i += BATCH) {
        const results = await database.bulkDocs(findings.slice(i, i + BATCH));
        if (results.some((result) => result.error)) throw new Error('a finding was not taken');
    }
    await database.close();
}

function send(directory, url) {
    new PouchDB(directory).replicate.to(url, {live: true, retry: true, batch_size: BATCH})
        .on('error', (error) => {
            console.error(error);
            process.exit(1);
        });
}

function receive(directory, address, port, certificate, key) {
    fs.mkdirSync(directory, {recursive: true});
    const Server = PouchDB.defaults({prefix: directory + path.sep});
    const application = require('express')();
    application.use('/', require('express-pouchdb')(Server, {mode: 'minimumForPouchDB', inMemoryConfig: true}));
    https.createServer({cert: fs.readFileSync(certificate), key: fs.readFileSync(key)}, application).listen(Number(port), address);
}

const [what, ...words] = process.argv.slice(2);
Promise.resolve({seed, send, receive}[what](...words)).catch((error) => {
    console.error(error);
    process.exit(1);
});
