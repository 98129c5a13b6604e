/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What can happen in a simulated run, and how often it did: `sim --stats` prints it, and a long run in which
 * some kind never occurred is a failure, because then nothing was tested by it.
 */
#pragma once

#include <stdint.h>

#define COVERAGE_KINDS(X)                                                                                    \
    /* what becomes of a request */                                                                          \
    X(NET_GOOD, "request answered")                                                                          \
    X(NET_REQUEST_LOST, "request lost")                                                                      \
    X(NET_RESET_BEFORE, "reset before the server had it")                                                    \
    X(NET_BODY_CUT, "request broken off in its body")                                                        \
    X(NET_RESET_AFTER, "reset after the server had it")                                                      \
    X(NET_ANSWER_LOST, "answer lost")                                                                        \
    X(NET_ANSWER_CUT, "answer truncated")                                                                    \
    X(NET_ANSWER_DAMAGED, "answer damaged")                                                                  \
    X(NET_ANSWER_LATE, "answer after the deadline")                                                          \
    X(NET_ANSWER_OLD, "answer to an older request replayed")                                                 \
    X(NET_DUPLICATE, "request delivered twice")                                                              \
    X(NET_FORGED, "answer forged")                                                                           \
    X(NET_CAPTIVE, "captive portal answered 200")                                                            \
    X(NET_BUSY, "proxy answered 503")                                                                        \
    X(NET_LINK_DOWN, "no link")                                                                              \
    X(NET_REFUSED, "server down: connection refused")                                                        \
    /* machines */                                                                                           \
    X(HANDHELD_POWER_CUT, "handheld: power cut")                                                             \
    X(HANDHELD_POWER_CUT_AT_OPERATION, "handheld: power cut at a disk operation of the daemon")              \
    X(COLLECTOR_POWER_CUT, "handheld: power cut at a disk operation of the collector")                       \
    X(COLLECTOR_KILLED, "collector killed at a disk operation")                                              \
    X(DAEMON_KILLED, "daemon killed")                                                                        \
    X(DAEMON_KILLED_AT_OPERATION, "daemon killed at a disk operation")                                       \
    X(DAEMON_STOPPED, "daemon stopped and started")                                                          \
    X(HANDHELD_DISK_FULL, "handheld: disk full")                                                             \
    X(HANDHELD_SYNC_FAILED, "handheld: fsync failed")                                                        \
    X(HANDHELD_CLOCK_JUMP, "handheld: wall clock set")                                                       \
    X(HANDHELD_ROLLED_BACK, "handheld: older copy restored")                                                 \
    X(HANDHELD_CLONED, "handheld: cloned")                                                                   \
    X(SERVER_POWER_CUT, "server: power cut")                                                                 \
    X(SERVER_POWER_CUT_AT_OPERATION, "server: power cut at a disk operation")                                \
    X(SERVER_KILLED_AT_OPERATION, "server: killed at a disk operation")                                      \
    X(SERVER_STOPPED, "server: stopped and started")                                                         \
    X(SERVER_DISK_FULL, "server: disk full")                                                                 \
    X(SERVER_SYNC_FAILED, "server: fsync failed")                                                            \
    X(SERVER_CLOCK_JUMP, "server: wall clock set")                                                           \
    X(SERVER_RESTORED, "server: older copy of everything restored")                                          \
    X(SERVER_DATABASE_RESTORED, "server: older copy of the database restored")                               \
    X(DAMAGE_RECORD_GONE, "server: record row removed")                                                      \
    X(DAMAGE_RECORD_CHANGED, "server: record bytes changed")                                                 \
    X(DAMAGE_BLOB_GONE, "server: photo file removed")                                                        \
    X(DAMAGE_BLOB_CHANGED, "server: photo file changed")                                                     \
    X(CREDENTIAL_REVOKED, "credential revoked and restored")                                                 \
    X(LINK_FLAP, "link down for a while")                                                                    \
    X(CAPTIVE_PERIOD, "captive portal for a while")                                                          \
    X(BUSY_PERIOD, "503 for a while")                                                                        \
    X(RESYNC_BY_PERSON, "resync asked for at the handheld")                                                  \
    X(RESYNC_BY_CENTRE, "resync asked for at the centre")                                                    \
    X(SYNC_BY_PERSON, "sync asked for at the handheld")                                                      \
    /* by hand */                                                                                            \
    X(CARRIED, "bundle carried by hand")                                                                     \
    X(CARRIED_CUT, "bundle imported in part")                                                                \
    X(CARRIED_AGAIN, "bundle imported again")                                                                \
    X(CARRIED_CRASHED, "server died in an import")                                                           \
    X(CARRIED_RECEIPTS, "receipts taken from a carrier")                                                     \
    /* branches that these lead to */                                                                        \
    X(COMMIT_GROUP, "several requests in one commit")                                                        \
    X(COMMIT_CRASHED, "server died in a commit")                                                             \
    X(APPEND_CRASHED, "collector died in an append")                                                         \
    X(APPEND_REFUSED, "append refused, nothing recorded")                                                    \
    X(ANSWER_AHEAD, "exchange held that came ahead of its log")                                              \
    X(ANSWER_FORK, "fork answered")                                                                          \
    X(ANSWER_REFUSED, "signed refusal")                                                                      \
    X(WENT_BACK, "the centre was seen to have gone back")                                                    \
    X(REHOMED, "records carried over into a new log")                                                        \
    X(UPLOAD_CREATED, "upload created")                                                                      \
    X(UPLOAD_RESUMED, "upload resumed above 0")                                                              \
    X(UPLOAD_WRONG_OFFSET, "upload at a wrong offset refused")                                               \
    X(UPLOAD_WRONG_CHECKSUM, "photo with a wrong hash refused")                                              \
    X(UPLOAD_STORED, "photo stored")                                                                         \
    X(AUDIT_MISSING, "audit found records missing")                                                          \
    X(AUDIT_DAMAGED, "audit found records damaged")                                                          \
    X(AUDIT_BLOB, "audit found photos missing or damaged")                                                   \
    X(REPAIRED, "records mended by a repair")                                                                \
    X(DURABLE_IMAGE_READ, "durable image of the server read at an answer")                                   \
    X(BUDGET_USED_UP, "photos waited for the day's budget to end")                                           \
    X(QUARANTINED, "record in quarantine")                                                                   \
    X(RELEASED, "record out of quarantine again")

enum coverage_kind {
#define COVERAGE_ENUM(name, text) COVER_##name,
    COVERAGE_KINDS(COVERAGE_ENUM)
#undef COVERAGE_ENUM
        COVERAGE_KIND_COUNT,
};

struct coverage {
    uint64_t counts[COVERAGE_KIND_COUNT];
    uint64_t events, requests, findings, photos, virtual_ms;
};

const char *coverage_name(enum coverage_kind kind);
