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
    X(NET_CAPTIVE, "captive portal answered")                                                                \
    X(NET_TLS, "TLS handshake failed")                                                                       \
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
    X(HANDHELD_DAMAGED, "handheld: database damaged")                                                        \
    X(HANDHELD_RECOVERED, "handheld: damaged database recovered")                                            \
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
    X(BACKED_UP, "server: backed up")                                                                        \
    X(BACKUP_CRASHED, "server: died in a backup")                                                            \
    X(BACKUP_RESTORED, "server: set up anew from the newest backup")                                         \
    X(DAMAGE_RECORD_GONE, "server: record row removed")                                                      \
    X(DAMAGE_RECORD_CHANGED, "server: record bytes changed")                                                 \
    X(DAMAGE_BLOB_GONE, "server: photo file removed")                                                        \
    X(DAMAGE_BLOB_CHANGED, "server: photo file changed")                                                     \
    X(CREDENTIAL_REVOKED, "credential revoked and restored")                                                 \
    X(LINK_FLAP, "link down for a while")                                                                    \
    X(FLAP_BURST, "link down and up many times in a row")                                                    \
    X(LINK_OUTAGE, "link down for hours")                                                                    \
    X(LINK_UP_WAIT, "lanes waited after a long outage")                                                      \
    X(CAPTIVE_PERIOD, "captive portal for a while")                                                          \
    X(PORTAL_EVERYTHING, "portal that answers everything met")                                               \
    X(PORTAL_TEXT, "portal that answers the text met")                                                       \
    X(PORTAL_PHOTOS, "portal that answers the photos met")                                                   \
    X(PORTAL_TLS, "portal that lets TLS fail met")                                                           \
    X(PORTAL_REDIRECT, "portal answered with a redirect")                                                    \
    X(BUSY_PERIOD, "503 for a while")                                                                        \
    X(OTHER_NETWORK, "metered network instead of another, or the other way round")                           \
    X(RESYNC_BY_PERSON, "resync asked for at the handheld")                                                  \
    X(RESYNC_BY_CENTRE, "resync asked for at the centre")                                                    \
    X(SYNC_BY_PERSON, "sync asked for at the handheld")                                                      \
    X(KEY_ROTATED, "another device key asked for at the handheld")                                           \
    X(AUDIT_UNDER_LOSS, "resync while answers to audits are lost")                                           \
    X(AUDIT_AFTER_DAMAGE, "damage, and a resync while answers to audits are lost")                           \
    X(AUDIT_ANSWER_LOST, "answer to an audit of presence or records lost")                                   \
    X(MEDIA_AUDIT_ANSWER_LOST, "answer to an audit of media lost")                                           \
    X(REPAIR_ANSWER_LOST, "answer to a repair lost")                                                         \
    X(MENDED_UNDER_LOSS, "all damage mended while answers were lost")                                        \
    /* by hand */                                                                                            \
    X(CARRIED, "bundle carried by hand")                                                                     \
    X(CARRIED_CUT, "bundle imported in part")                                                                \
    X(CARRIED_AGAIN, "bundle imported again")                                                                \
    X(COPIES_CARRIED, "bundles of a handheld and its clone carried, both without a network")                 \
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
    X(ANSWER_LATER, "told by an answer to come later")                                                       \
    X(WENT_BACK, "the centre was seen to have gone back")                                                    \
    X(REHOMED, "records carried over into a new log")                                                        \
    X(LEFT_BY_RECEIPTS, "log left because of receipts from a carrier")                                       \
    X(COPIES_AT_WORK, "handheld and its clone both recorded, and both delivered")                            \
    X(UNKNOWN_DEVICE, "handheld not known to a restored centre")                                             \
    X(ADOPTED, "handheld known again by its certificate")                                                    \
    X(KEY_CERTIFIED, "certificate of the next device key taken")                                             \
    X(KEY_FORCED, "device key known by its certificate to a centre that was set back")                       \
    X(KEY_SHUT_OUT, "copy with a replaced device key shut out")                                              \
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
    X(PHOTO_FREED_BACKED_UP, "photos removed from the handheld that are in a backup")                        \
    X(PHOTO_FREED_OLD, "photos removed from the handheld by age")                                            \
    X(SEASON, "long log closed, and a backup after it")                                                      \
    X(PRUNED, "records removed from the handheld that are in a backup")                                      \
    X(PRUNED_GONE, "removed records in neither place, and the handheld says so")                             \
    X(PHOTO_GONE, "photo in neither place, and the centre says so")                                          \
    X(BUDGET_USED_UP, "photos waited for the day's budget to end")                                           \
    X(BUDGET_NEXT_DAY, "photos went out on a later day's budget")                                            \
    X(QUARANTINED, "record in quarantine")                                                                   \
    X(RELEASED, "record out of quarantine again")                                                            \
    X(ERASED, "order to erase something")                                                                    \
    X(ERASED_CHECKED, "databases and photos searched for what was erased")

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
