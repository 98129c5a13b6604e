/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The daemon's control socket, as both sides name it: DATA/control.sock, a Unix stream socket with
 * NUL-terminated JSON messages, in the manner of varlink (https://varlink.org/Method-Call).
 *
 *   C → S  {"method":"Sync","parameters":{"wait":true},"more":true}\0
 *   S → C  {"parameters":{"records_queued":12,...},"continues":true}\0     as often as something changed
 *   S → C  {"parameters":{"done":true}}\0
 *   S → C  {"error":"Busy","parameters":{"message":"..."}}\0               instead, when it cannot be done
 *
 * Used by `patrol` (client) and `patrol-syncd` (server); man page patrol-syncd(8) documents the fields.
 */
#pragma once

#define CONTROL_SOCKET_NAME "control.sock"
#define CONTROL_MESSAGE_BYTES_MAX 262144u /* an envelope of a bundle or of its receipts, in base64 */
#define CONTROL_CLIENTS_MAX 16u
#define CONTROL_GROUP "patrol" /* whose members may speak to the daemon */

#define CONTROL_METHOD_STATUS "Status" /* -> the status object, once */
#define CONTROL_METHOD_SYNC "Sync"     /* {wait} -> status objects, then {done, refused, reason} */
#define CONTROL_METHOD_RESYNC "Resync" /* {level} -> status objects, then the resync object */
#define CONTROL_METHOD_PAUSE "Pause"   /* {paused} -> {} */
/* For a data carrier. Envelopes are in base64, ids in hex or as UUIDs. */
#define CONTROL_METHOD_BUNDLE_BEGIN "BundleBegin" /* {} -> {bundle, envelope} */
#define CONTROL_METHOD_BUNDLE "Bundle"            /* {log, from_seq} -> {envelope, next_seq} */
#define CONTROL_METHOD_RECEIPTS "Receipts"        /* {envelope, check} -> the receipts object */
#define CONTROL_METHOD_ROTATE_KEY "RotateKey"     /* {} -> {waited}: one that was made before waits still */

/* error names */
#define CONTROL_ERROR_METHOD "MethodNotFound"
#define CONTROL_ERROR_PARAMETER "InvalidParameter"
#define CONTROL_ERROR_BUSY "Busy"
#define CONTROL_ERROR_NOT_ENROLLED "NotEnrolled"
#define CONTROL_ERROR_REFUSED "Refused" /* what was given is not what it must be; the message says it */
#define CONTROL_ERROR_NOTHING "Nothing" /* there is no such thing here */
#define CONTROL_ERROR_FAILED "Failed"

/*
 * The status object:
 *   enrolled (bool), device, server_url, link (bool), wait (name of enum engine_wait), reason (text),
 * next_attempt_in_ms (0: none), failures, refused (bool), last_failure, last_answer_at, last_server_time (RFC
 * 3339 or null), records_queued, records_sent, records_quarantined, photos_pending, bytes_pending,
 * all_acknowledged (bool), exchanges, bytes_up, bytes_down, resync: the resync object of the last or running
 * one, or null, network (metered or unmetered), lanes: an object for each of text, previews and photos: lane,
 * waiting (how many), wait (name of enum engine_lane_wait), reason (text or null), until_in_ms (0: not
 * known), used_bytes (of the day, on this kind of network), budget_bytes (null: unlimited); key_waits
 * (bool): a new key of this device waits for the centre to take it. The resync object: finished, ok, failed
 * (bool), problem (text or null), level, records_checked, records_missing, records_damaged,
 * records_sent_again, records_gone, records_erased, records_lost, blobs_checked, blobs_missing,
 * blobs_sent_again, blobs_gone, round_trips The receipts object: bundle, server_time_ms, part, last (bool),
 * log (none, taken, unknown, set_back or forked), records_acknowledged, records_quarantined, photos_stored,
 * photos_backed_up
 */
