/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The limits of the protocol, by name. proto/README.md, "Limits", gives the reasons. Both ends keep them.
 */
#pragma once

#include <stdint.h>

#define RECORD_BYTES_MAX (64u * 1024u)                     /* on the wire and in any log */
#define RECORD_CAPTURE_BYTES_MAX (RECORD_BYTES_MAX - 512u) /* at capture: it must still fit when rehomed */
#define NOTE_BYTES_MAX (16u * 1024u)
#define REASON_BYTES_MAX 1024u
#define INSPECTOR_BYTES_MAX 128u
#define CODE_BYTES_MAX 32u
#define SCHEME_BYTES_MAX 64u
#define FINDING_PHOTOS_MAX 32u
#define SOFTWARE_BYTES_MAX 128u /* name and version of a program */
#define DEVICE_EVENT_LOST_BLOBS_MAX 1024u

#define EXCHANGE_COMPRESSED_BYTES_MAX (256u * 1024u)
#define EXCHANGE_INFLATED_BYTES_MAX (8u * 1024u * 1024u)
#define EXCHANGE_RECORDS_MAX 16384u
#define EXCHANGE_ENVELOPE_BYTES_MAX (EXCHANGE_COMPRESSED_BYTES_MAX + 1024u)
#define EXCHANGE_ASKED_BLOBS_MAX 256u
#define EXCHANGE_WANTED_BLOBS_MAX 128u
#define EXCHANGE_QUARANTINED_MAX 1024u
#define EXCHANGE_ASKED_QUARANTINED_MAX 256u
#define EXCHANGE_COMMANDS_MAX 16u
#define EXCHANGE_COMMAND_RESULTS_MAX 16u
#define PROBLEM_BYTES_MAX 256u
#define EXCHANGE_REFERENCE_CHANGES_MAX 1024u
#define ORDER_ENTRIES_MAX 512u    /* records and blobs of one erasure order, and of those of one answer */
#define CAPABILITY_VALUES_MAX 64u /* protocol versions, dictionaries, encodings: so many of each */
#define SEALED_TOKEN_BYTES_MAX 512u
#define EXCHANGES_IN_FLIGHT_MAX 2u
#define EXCHANGE_HOLD_MS 10000u

#define DECODE_BUDGET_FACTOR 4u                       /* an arena of this many times the inflated size ... */
#define DECODE_BUDGET_BYTES_MAX (24u * 1024u * 1024u) /* ... but never more than this */
#define DECODE_BUDGET_BYTES_MIN (16u * 1024u)

#define BLOB_BYTES_MAX (64u * 1024u * 1024u)
#define PREVIEW_BYTES_MAX (24u * 1024u)
#define UPLOAD_TOKEN_S 900u
#define UPLOAD_CHUNK_BYTES_MIN (16u * 1024u)
#define UPLOAD_CHUNK_BYTES_MAX (1024u * 1024u)

#define ENROLMENT_BYTES_MAX (4u * 1024u)
#define ENROLMENT_ANSWER_BYTES_MAX (64u * 1024u)
#define DEVICE_NAME_BYTES_MAX 128u
#define DEVICE_KEYS_MAX 16u
#define CA_PEM_BYTES_MAX (16u * 1024u)
#define TRUST_KEYS_MAX 32u
#define TRUST_STATEMENTS_MAX 64u
#define TRUST_STATEMENT_BYTES_MAX (20u * 1024u)
#define TRUST_LIST_BYTES_MAX (40u * 1024u)
#define ANSWER_BYTES_MAX (512u * 1024u)
#define NOTE_TEXT_BYTES_MAX 4096u /* a signed note with its signatures */
#define ORIGIN_BYTES_MAX 256u

#define AUDIT_WINDOW_RECORDS_MAX 65536u /* records level, and tile roots of a presence audit */
#define AUDIT_WINDOW_BLOBS_MAX 256u
#define AUDIT_RUNS_MAX 4096u
#define REPAIR_RUNS_MAX 1024u
#define REPAIR_RECORDS_MAX 16384u
#define REPAIR_LOST_MAX 16384u

#define EVIDENCE_HEAD_BYTES_MAX (128u * 1024u)
#define EVIDENCE_BLOBS_MAX (2u * FINDING_PHOTOS_MAX) /* each photo and its preview */

#define BUNDLE_MESSAGE_BYTES_MAX (EXCHANGE_ENVELOPE_BYTES_MAX + 1u) /* with its kind */
#define BUNDLE_CHUNK_BYTES_MAX (64u * 1024u)
#define BUNDLE_RECEIPTS_BYTES_MAX (128u * 1024u)
#define BUNDLE_RECEIPTS_BLOBS_MAX 2048u /* named in one part */

#define TILE_LEAVES 256u
#define LOG_SIZE_MAX (UINT64_C(1) << 40)
