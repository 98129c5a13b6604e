# SPDX-License-Identifier: Apache-2.0
"""The mutations of scripts/mutate: protective code that is taken away, and the test that must fail without it.

`test` names one test below tests/: a cmocka test as FILE.c::NAME, a pytest test as FILE.py::NAME, or SIMULATOR. docs/failures.md
says which failure each stands for; tests/unit/scripts/test_failures.py holds the two together. A change should take away
as little as the failure needs, and its old text should be short, so that work on the code around it leaves it alone.
"""

import dataclasses
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "sim"))
import planted  # noqa: E402
from plant import Edit  # noqa: E402

SIMULATOR = "sim"


@dataclasses.dataclass(frozen=True)
class Mutation:
    name: str
    test: str
    edits: list


def mutation(name, test, file, old, new):
    return Mutation(name, test, [Edit(file, old, new)])


MUTATIONS = [
    # ---- losing data ----
    Mutation("believe-an-unsigned-answer", "unit/syncd/test_agent.c::an_answer_with_any_byte_altered_keeps_the_queue",
             [planted.ENVELOPE_UNCHECKED]),
    mutation("any-receipt-fits-any-log", "unit/syncd/test_agent.c::a_receipt_of_another_log_acknowledges_nothing",
             "syncd/agent/signed.c", " || strcmp(checkpoint.origin, origin) != 0)", ")"),
    mutation("complete-without-photos", "system/test_uploads.py::test_incomplete_finding_says_so",
             "server/service_findings.c", "        *complete = false;\n", "        *complete = true;\n"),
    mutation("photo-not-synced", "sim/test_store_crash.c::everything_acknowledged_survives_any_crash_once",
             "store/photos.c", "        r = world->verbs->sync(world->context, file);\n", "        r = 0;\n"),
    mutation("upload-promised-before-it-is-durable", "sim/test_service_crash.c::everything_receipted_survives_any_crash_once",
             "server/blobs/files.c", "    int r = world->verbs->sync(world->context, writer->part);\n", "    int r = 0;\n"),
    mutation("commit-not-durable", "sim/test_store_crash.c::everything_acknowledged_survives_any_crash_once",
             "store/database.c", "PRAGMA synchronous=FULL;", "PRAGMA synchronous=NORMAL;"),
    mutation("missing-database-taken-for-a-new-one",
             "unit/store/test_recover.c::missing_database_and_wal_open_a_new_log_that_names_the_old_one",
             "store/open.c", "logs_size > 0 ? APPEARS_DAMAGED : APPEARS_NEW", "APPEARS_NEW"),
    mutation("logs-file-not-synced", "sim/test_store_crash.c::database_that_vanished_after_a_power_cut_is_missed",
             "store/logs_file.c", "    return r < 0 ? r : world->verbs->sync(world->context, file);\n", "    return r;\n"),
    mutation("restored-centre-unnoticed", "unit/syncd/test_agent.c::a_server_set_back_gets_again_what_it_lost",
             "syncd/core/engine.c", "    return server_size < receipt_size_before;\n",
             "    return server_size < receipt_size_before && false;\n"),
    mutation("media-audit-trusts-the-rows",
             "system/test_losing_data.py::test_blob_removed_behind_the_servers_back_is_mended_by_resync",
             "server/service_audit.c", "    r = blobs->verbs->hash(blobs, &blob->sha256, &sha256, &size);\n",
             "    (void)blobs;\n    sha256 = blob->sha256;\n    r = 0;\n"),
    mutation("no-ballast-for-text", "unit/store/test_open.c::text_is_recorded_on_a_full_disk_photos_are_not",
             "store/database.c", "    if (r == -ENOSPC && ballast_release(store) > 0)\n", "    if (false)\n"),
    mutation("photos-take-the-last-space", "unit/store/test_photos.c::photo_stops_before_the_disk_is_full",
             "store/photos.c", "free_bytes < size + STORE_RESERVE_BYTES ? -ENOSPC : 0", "0"),
    mutation("photos-freed-before-they-are-stored",
             "unit/store/test_photos.c::photos_are_freed_when_backed_up_or_stored_and_old",
             "store/sweep.c", "(state = 1 AND ?1 - stored_ms >= ?2)", "(state <= 1)"),
    mutation("pruned-though-no-backup-has-it",
             "unit/server/test_service_backup.c::a_closed_log_is_told_with_its_root_when_a_finished_backup_has_it",
             "server/service_answer.c", "    r = storage->verbs->log_backed_up(storage, log.number, &answer->backed_up_log);\n",
             "    answer->backed_up_log = (struct log_backed_up){.size = log.frontier.size, .root = merkle_root(&log.frontier)};\n"
             "    r = 1;\n"),
    mutation("backup-believed-unread",
             "unit/server/test_service_backup.c::a_log_of_which_the_copy_lacks_or_alters_a_record_is_not_told",
             "server/service_backup.c", "    int r = read_log(backup->snapshot, log);\n", "    (void)read_log;\n    int r = 1;\n"),
    mutation("served-backup-vouches-for-itself", "unit/server/test_service_backup.c::a_backup_that_is_served_does_not_vouch_for_itself",
             "server/service_keys.c", "    r = transaction.storage->verbs->backups_forget(transaction.storage);\n", "    r = 0;\n"),
    mutation("mark-withdrawn-too-late",
             "unit/server/test_service_backup.c::a_mark_is_withdrawn_before_the_copy_that_has_not_all_takes_its_place",
             "server/service_backup.c", "        r = mark_logs(backup, false);\n", "        (void)mark_logs;\n"),
    mutation("newer-backup-replaced-by-a-set-back-centre",
             "unit/server/test_service_backup.c::a_centre_that_was_set_back_does_not_replace_the_newer_backup",
             "server/service_backup.c", "    if (r >= 0 && log.frontier.size < closed->frontier.size)\n        return 0;\n",
             "    if (r >= 0 && log.frontier.size < closed->frontier.size)\n        return 1;\n"),
    mutation("better-backup-replaced",
             "unit/server/test_service_backup.c::a_backup_that_has_a_closed_log_whole_is_not_replaced_by_one_that_has_not",
             "server/service_backup.c", "        r = look_at_backup_before(backup);\n", "        (void)look_at_backup_before;\n"),
    mutation("pruned-for-a-backup-of-something-else", "unit/syncd/test_agent_keep.c::a_backup_of_other_records_frees_nothing",
             "store/prune.c", "    if (marking->size != log.size || !sha256_equal(&root, marking->root))\n        return -EBADMSG;\n", ""),
    mutation("written-without-the-lock", "unit/store/test_open.c::lock_is_held_from_before_begin_until_commit_has_returned",
             "store/database.c", "        int r = world->verbs->try_lock(world->context, store->lock);\n", "        int r = 0;\n"),
    mutation("fork-unnoticed", "unit/server/test_service_exchange.c::a_fork_is_answered_with_the_leaf_held_and_raises_one_alarm",
             "server/core/ingest.c", "    if (find_fork(held, request, ret))\n", "    if (find_fork(held, request, ret) && false)\n"),
    mutation("fork-on-a-carrier-unnoticed",
             "unit/syncd/test_agent_bundle.c::receipts_for_a_log_that_a_copy_has_written_open_a_new_log_with_all_of_it",
             "syncd/agent/bundle.c", "        leave_misfit(agent, &receipts, taken.log == RECEIPTS_LOG_SET_BACK);\n",
             "        leave_misfit(agent, &(struct bundle_receipts){0}, false);\n"),
    mutation("photos-of-a-left-log-forgotten", "unit/store/test_rehome.c::photos_that_no_record_takes_along_wait_for_the_new_log",
             "store/logs.c", "        r = blobs_follow(store, record_key(log.number, first_seq), record_key(current.number, 0));\n",
             "        r = 0;\n"),
    mutation("log-with-holes-ends-the-daemon",
             "unit/syncd/test_agent_holes.c::a_log_that_has_holes_since_a_recovery_ends_no_resync_and_no_daemon",
             "syncd/agent/mend_list.c", "    if ((r == -EUCLEAN || r == -ERANGE) && log->may_have_holes) {\n",
             "    if ((r == -EUCLEAN || r == -ERANGE) && log->may_have_holes && false) {\n"),
    mutation("damage-told-but-not-marked",
             "unit/syncd/test_agent_holes.c::what_a_resync_finds_damaged_here_is_recovered_when_the_store_is_opened_again",
             "syncd/agent/agent.c", "        store_mark_damage(agent->store);\n", ""),
    mutation("number-of-a-lost-log-given-again",
             "unit/store/test_rehome.c::a_log_after_a_lost_database_has_a_number_that_none_had_before",
             "store/logs.c", "    if (last.number_max > number)\n", "    if (false)\n"),
    # ---- sending twice, or claiming too much ----
    mutation("overlap-not-skipped", "unit/server/test_service_exchange.c::an_overlap_is_skipped_and_the_rest_appended",
             "server/core/ingest.c", "request->leaves + held->overlap_count, rest", "request->leaves, rest"),
    mutation("quarantine-forgotten", "unit/syncd/test_agent_quarantine.c::every_mix_of_stored_and_quarantined_records_is_told_apart",
             "store/receipts.c", "r >= 0 && i < taking->quarantined_count", "r >= 0 && i + 1 < taking->quarantined_count"),
    mutation("no-deadline-for-answers", "unit/syncd/test_engine_text.c::an_answer_after_the_deadline_changes_nothing",
             "syncd/core/engine.c", "slot.deadline_ms > engine->now_ms)", "slot.deadline_ms > 0)"),
    mutation("any-answer-fits-any-request", "unit/syncd/test_agent.c::the_answer_to_another_request_acknowledges_nothing",
             "syncd/agent/exchange.c", "!sha256_equal(&answer.request_sha256, &slot->request_sha256)) {",
             "false) {\n        (void)slot;"),
    Mutation("believe-anybodys-receipt", "unit/syncd/test_agent.c::an_answer_signed_by_another_key_acknowledges_nothing",
             planted.ANSWER_AND_RECEIPT_UNCHECKED),
    mutation("uploaded-counts-as-stored", "unit/syncd/test_agent_blobs.c::all_bytes_sent_is_not_stored_until_the_centre_has_signed_it",
             "syncd/agent/blobs.c", "void blobs_uploaded(struct agent *agent, const struct sha256 *blob)\n{\n",
             "void blobs_uploaded(struct agent *agent, const struct sha256 *blob)\n{\n"
             "    (void)store_blob_set_state(agent->store, blob, BLOB_STORED, 0);\n"),
    mutation("doubted-answers-taken",
             "unit/syncd/test_agent_blobs.c::what_was_asked_before_the_centre_found_a_photo_missing_does_not_make_it_stored",
             "syncd/agent/blobs.c", "    if (slot->asked_at < agent->doubted_at)\n", "    if (false)\n"),
    mutation("carried-photo-taken-again", "system/test_bundle.py::test_bundle_imported_twice_stores_each_record_once",
             "server/service_uploads.c", "    if (r > 0) {\n        r = uploads_enter_found(service);\n",
             "    if (false) {\n        r = uploads_enter_found(service);\n"),
    # ---- getting stuck ----
    mutation("bad-record-blocks-its-log", "system/test_delivery.py::test_record_of_an_unknown_kind_is_quarantined_and_blocks_nothing",
             "server/service_apply.c",
             "        return put_in_quarantine(transaction, &subject, projection->reason, NULL);\n", "        return -EBADMSG;\n"),
    mutation("oversize-record-queued", "unit/store/test_append.c::record_over_the_limit_is_refused_and_nothing_stored",
             "store/append.c", "entries[i].record.len > RECORD_CAPTURE_BYTES_MAX", "entries[i].record.len > UINT32_MAX"),
    mutation("link-that-comes-up-is-no-hint", "unit/syncd/test_engine_contact.c::a_link_that_comes_up_shortens_the_backoff",
             "syncd/core/contact.c", "    if (contact->hold_until_ms > at_ms)\n        contact->hold_until_ms = at_ms;\n", ""),
    mutation("refused-device-hurries",
             "unit/syncd/test_engine_contact.c::a_signed_refusal_is_probed_at_most_twice_in_the_first_hour_and_every_six_hours_after",
             "syncd/core/contact.c",
             "    return engine_later(engine, REFUSAL_PROBE_MS + engine_random(engine, REFUSAL_PROBE_MS / 10));\n",
             "    return engine_later(engine, first_ms);\n"),
    mutation("refused-device-never-asks-again", "unit/syncd/test_engine_contact.c::a_refused_device_recovers_by_itself_and_loses_nothing",
             "syncd/core/contact.c", "    return engine->contact.state == CONTACT_REFUSED || engine->contact.certificate_wanted;\n",
             "    return engine->contact.certificate_wanted;\n"),
    mutation("upload-begun-again-from-0", "system/test_syncd.py::test_upload_goes_on_where_it_was_after_a_kill",
             "server/service_uploads.c", "    if (r >= 0 && ret->size == size && ret->expires_ms > now_ms)\n", "    if (false)\n"),
    mutation("half-open-upload-keeps-its-place", "unit/server/test_service_uploads.c::a_new_request_ends_a_stale_one",
             "server/service_patches.c", "    end_stale(uploads, &patch->device, &patch->sha256);\n", ""),
    mutation("broken-off-request-keeps-nothing", "unit/server/test_service_uploads.c::a_request_that_breaks_off_keeps_what_has_come",
             "server/service_patches.c", "    if (!patch->has_checksum)\n        return 1;\n",
             "    if (!patch->has_checksum)\n        return complete;\n"),
    mutation("no-network-at-the-start-ends-the-daemon",
             "system/test_delivery.py::test_daemon_started_offline_delivers_when_the_server_appears",
             "syncd/daemon.c", "    agent_failed(daemon->agent, slot, failure);\n",
             "    agent_failed(daemon->agent, slot, failure);\n    sd_event_exit(daemon->event, -ENETDOWN);\n"),
    mutation("worker-ends-in-its-own-time",
             "system/test_delivery.py::test_connect_into_a_black_hole_delays_neither_control_socket_nor_sigterm",
             "syncd/transport_worker.c", "    kill(transport->pid, SIGKILL);\n",
             "    if (transport_worker_busy(transport) == 0)\n        kill(transport->pid, SIGKILL);\n"),
    mutation("names-resolved-in-the-daemon",
             "system/test_delivery.py::test_resolver_that_never_answers_delays_neither_control_socket_nor_sigterm",
             "syncd/transport_worker.c", "    int r = make_url(transport, request->path, url, sizeof(url));\n",
             "    int r = make_url(transport, request->path, url, sizeof(url));\n"
             "    extern void *gethostbyname(const char *name);\n    (void)gethostbyname(\"centre.example\");\n"),
    mutation("overrun-leaves-the-socket-deaf",
             "unit/syncd/test_link.c::thousands_of_flaps_while_nobody_reads_leave_it_with_the_right_state",
             "syncd/link.c", "            continue; /* overrun", "            return -ENOBUFS; /* overrun"),
    mutation("no-credential-no-recording",
             "system/test_time.py::test_credentials_that_have_expired_or_are_gone_never_block_recording",
             "collector/command_record.c", "    struct captured_photos photos;\n    int r = capture_photos(",
             "    if (chdir(program->directory) < 0 || access(\"device.key\", R_OK) < 0)\n"
             "        return complain(EXIT_STATUS_FAILED, \"wrong password\");\n"
             "    struct captured_photos photos;\n    int r = capture_photos("),
    mutation("body-that-cannot-be-sent-again",
             "system/test_delivery.py::test_kept_connection_that_breaks_off_in_the_middle_of_a_body_costs_no_wait",
             "syncd/transport/curl.c", "curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, rewind_body);", "(void)rewind_body;"),
    mutation("old-connections-kept",
             "unit/syncd/test_transport_curl.c::requests_in_a_row_after_the_network_changed_go_over_new_connections",
             "syncd/transport/curl.c", "            shutdown(transport->sockets[i].fd, SHUT_RDWR);\n", "            continue;\n"),
    mutation("any-clock-believed", "unit/syncd/test_tls_floor.c::a_clock_in_1970_verifies_at_the_build_time",
             "syncd/core/tls_floor.c", "input->wall_ms >= floor_ms && ", ""),
    mutation("batches-without-end", "unit/syncd/test_engine_text.c::a_million_queued_records_are_cut_into_bounded_batches",
             "syncd/core/text_lane.c", "    if (end - first < limit.records)\n        limit.records", "    limit.records"),
    mutation("all-come-back-at-once", "unit/syncd/test_engine_contact.c::two_thousand_handhelds_told_to_come_back_come_back_spread_out",
             "syncd/core/contact.c", "    return wait_ms + engine_random(engine, wait_ms + 1);\n", "    return wait_ms;\n"),
    mutation("crowd-is-not-spread", "unit/server/test_pace.c::those_that_come_at_once_are_told_times_that_the_centre_is_good_for",
             "server/core/pace.c", "    return has_more ? wait_for(queue_us) : 0;\n", "    return has_more && queue_us == 0;\n"),
    mutation("moved-centre-unnoticed", "system/test_delivery.py::test_moved_server_gets_the_backlog",
             "syncd/daemon.c", "strcmp(event->name, \"enrolment.conf\") != 0)", "true)"),
    # ---- saying something untrue about the world ----
    mutation("fix-without-its-own-time", "system/test_time.py::test_fix_of_another_time_is_taken_with_the_time_that_it_has",
             "collector/core/finding_form.c", "    if (r >= 0 && form->fix_time)\n", "    if (false)\n"),
    mutation("oldest-amendment-taken-for-the-newest", "unit/server/test_projection.c::the_newest_amendment_stands_for_the_finding",
             "server/core/projection.c", "versions[i].arrival > versions[index]", "versions[i].arrival < versions[index]"),
    mutation("amended-by-place-whatever-stands-there", "unit/server/test_service_apply.c::an_amendment_that_names_the_wrong_id_waits",
             "server/service_apply.c", "uuid_equal(&id, &parent->id) ? look_at_parent(storage, record.key, facts, ret_root) : 0",
             "look_at_parent(storage, record.key, facts, ret_root)"),
    # ---- promises of its own ----
    mutation("split-pages-left-as-they-are",
             "unit/server/test_service_erase.c::what_pages_hold_behind_their_rows_of_an_erased_finding_goes_too",
             "server/storage/sqlite.c", "        r = execute_marked(sqlite, \"VACUUM\");\n", "        r = 0;\n"),
    mutation("erased-rows-left-in-their-pages", "unit/store/test_erase.c::an_erased_record_of_several_pages_is_in_no_file",
             "store/database.c", " PRAGMA secure_delete=1", " PRAGMA secure_delete=0"),
    mutation("repair-brings-back-what-was-erased",
             "unit/server/test_service_erase.c::a_repair_does_not_bring_back_what_was_erased", "server/service_repair.c",
             "    r = is_ordered_away(transaction, log, seq, bytes, leaf);\n", "    r = 0;\n    (void)is_ordered_away;\n"),
    mutation("new-log-brings-back-what-was-erased", "unit/server/test_service_erase.c::a_record_goes_wherever_it_was_rehomed",
             "server/service_exchange.c", "&exchange->leaves[i], &exchange->projections[i]);", "&exchange->leaves[i], NULL);"),
    mutation("retired-key-names-successors", "unit/proto/test_trust.c::lists_that_break_a_rule_are_refused",
             "proto/trust.c", "    if (r == -EFBIG || r == -ENOENT)\n",
             "    for (size_t i = 0; r < 0 && i < trust->key_count; i++)\n"
             "        r = envelope_open(envelope, PAYLOAD_TRUST_STATEMENT, trust->keys[i].key.public_key,\n"
             "            TRUST_STATEMENT_BYTES_MAX, &plain);\n    if (r == -EFBIG || r == -ENOENT)\n"),
    mutation("retired-key-believed",
             "unit/syncd/test_agent_trust.c::a_retired_key_is_believed_until_its_successor_is_in_force_and_never_after_a_restart",
             "proto/trust.c", "        if (later->valid_from_ms <= server_time_ms)\n", "        if (false)\n"),
    mutation("forger-charges-his-victim", "system/test_overload.py::test_forger_locks_out_nobody_whose_name_he_gives",
             "server/service_job.c", "!job->is_refused : job->is_proven;", "!job->is_refused : true;"),
    mutation("bare-records-not-compared",
             "unit/server/test_service_bare_repair.c::a_forged_bare_record_is_refused_with_all_beside_it",
             "server/service_repair.c", "            r = log_leaves_are_kept(storage, log, tile, leaves);\n", "            r = 1;\n"),
    mutation("self-audit-never-comes",
             "unit/syncd/test_engine_resync.c::a_handheld_audits_itself_once_a_day_from_a_time_that_was_drawn",
             "syncd/core/resync_lane.c", "    if (engine->config.self_audit_ms == 0 || ", "    if (true || "),
    mutation("chunk-broken-off-begins-at-0",
             "unit/syncd/test_engine_media.c::text_that_needs_the_link_for_long_breaks_off_the_chunk_which_goes_on_where_it_was",
             "syncd/core/media_lane.c", "    media->step = UPLOAD_OFFSET;\n    engine_cancel(engine, MEDIA_SLOT);\n",
             "    media->offset = 0;\n    engine_cancel(engine, MEDIA_SLOT);\n"),
    mutation("metrics-wake-the-idle", "system/test_metrics.py::test_an_idle_daemon_is_not_woken_for_its_metrics",
             "syncd/metrics_file.c", "    if (compose(file, &text))\n        write_text(file, &text);\n    return 0;\n",
             "    if (compose(file, &text))\n        write_text(file, &text);\n"
             "    (void)sd_event_source_set_time_relative(source, file->interval_ms * 1000);\n"
             "    return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);\n"),
    mutation("replaced-device-key-taken",
             "unit/server/test_service_device_keys.c::an_announced_key_is_certified_until_it_is_used_and_then_the_old_one_is_refused",
             "server/service_job.c", "    if (job->key_use == KEY_RETIRED && ", "    if (false && "),
    mutation("earlier-certificate-brings-a-key-back",
             "unit/server/test_service_device_keys.c::a_centre_that_was_set_back_takes_the_later_certificate_and_never_an_earlier_one",
             "server/service_device_keys.c", "job->certificate.issued_ms <= known.issued_ms", "false"),
    mutation("next-device-key-signs-at-once", "unit/syncd/test_rotation.c::a_key_without_a_kept_certificate_does_not_sign",
             "syncd/rotation.c", "        is_kept = find_certificate(enrolment, seed, &certificate);\n", "        is_kept = 1;\n"),
]


def all_mutations():
    return MUTATIONS + [Mutation(bug.name, SIMULATOR, bug.edits) for bug in planted.PLANTED]
