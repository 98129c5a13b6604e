/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of erasure orders, which outlive the database: server/service_orders.c, who carries them out again,
 * and what a backup has of it. */
#include "tests/unit/server/erase_scene.h"

static void a_centre_set_back_to_before_the_order_carries_it_out_again(void **state)
{
    struct scene *scene = *state;
    struct handheld *handheld = scene->handheld;

    uint64_t seq = append_finding(handheld, MARKER);
    finding_with_photo(scene, handheld);
    deliver(scene->centre, handheld);
    upload(scene);
    keep_copy(scene);
    erase_record(scene, handheld, seq);
    erase_record(scene, handheld, seq + 1);
    set_back(scene);
    assert_somewhere(scene, MARKER);
    assert_somewhere(scene, PHOTO_MARKER);
    centre_start(scene->centre);
    while (service_housekeeping(scene->centre->service) > 0)
        continue;
    assert_nowhere(scene, MARKER);
    assert_nowhere(scene, PHOTO_MARKER);
    centre_shell(scene->centre, "! test -e erasing");
    assert_well(scene);
}

static void a_photo_that_stays_is_still_asked_for_by_a_centre_that_was_set_back(void **state)
{
    struct scene *scene = *state;
    struct handheld *handheld = scene->handheld;
    _cleanup_answered_ struct answered answered = {0};

    uint64_t seq = finding_with_photo(scene, handheld);
    finding_with_photo(scene, handheld);
    deliver(scene->centre, handheld);
    keep_copy(scene);
    assert_int_equal(erase_record(scene, handheld, seq).photos_kept, 1);
    set_back(scene);
    centre_start(scene->centre);
    exchange(scene->centre, handheld, handheld->count, 0, &answered);
    assert_int_equal(answered.exchange.wanted_blob_count, 1);
    upload(scene);
    assert_somewhere(scene, PHOTO_MARKER);
}

static void a_photo_that_stays_is_still_asked_of_every_handheld_whose_records_name_it(void **state)
{
    struct scene *scene = *state;
    struct handheld *handhelds[] = {scene->handheld, handheld_enrolled(scene->centre)};
    struct service_erase_target targets[2] = {{.is_photo = false}};
    const struct service_erasure erasure = {
        .targets = targets, .target_count = 2, .by = "the clerk", .reason = "court order 12/3"};
    struct service_erasure_report report = {0};

    append_opened(handhelds[1]);
    for (size_t i = 0; i < 2; i++) {
        targets[i].id = record_id(handhelds[i], finding_with_photo(scene, handhelds[i]));
        finding_with_photo(scene, handhelds[i]);
        deliver(scene->centre, handhelds[i]);
    }
    assert_int_equal(service_erase(scene->centre->service, &erasure, &report), 0);
    assert_int_equal(report.photos_kept, 1);
    for (size_t i = 0; i < 2; i++) {
        _cleanup_answered_ struct answered answered = {0};

        exchange(scene->centre, handhelds[i], handhelds[i]->count, 0, &answered);
        assert_int_equal(answered.exchange.wanted_blob_count, 1);
    }
    handheld_free(handhelds[1]);
}

static void a_row_that_was_gone_takes_no_photo_along_that_another_finding_names(void **state)
{
    struct scene *scene = *state;
    struct handheld *handheld = scene->handheld;
    _cleanup_answered_ struct answered repaired = {0}, answered = {0};

    uint64_t seq = finding_with_photo(scene, handheld);
    finding_with_photo(scene, handheld);
    deliver(scene->centre, handheld);
    keep_copy(scene);
    erase_record(scene, handheld, seq);
    set_back(scene);
    centre_sql(scene->centre, "DELETE FROM records WHERE key % 1099511627776 = 1");
    centre_start(scene->centre);
    repair(scene,
        &(struct repair_request){
            .erased_seqs = &seq, .erased_leaves = &handheld->leaves[seq], .erased_count = 1},
        &repaired);
    exchange(scene->centre, handheld, handheld->count, 0, &answered);
    assert_int_equal(answered.exchange.wanted_blob_count, 1);
}

static void an_order_that_was_broken_off_is_carried_out_by_whoever_comes_next(void **state)
{
    struct scene *scene = *state;
    struct handheld *handheld = scene->handheld;

    uint64_t seq = append_finding(handheld, MARKER);
    deliver(scene->centre, handheld);
    give_order_and_die(scene, 1, seq);
    /* The running service goes on with it. */
    while (service_housekeeping(scene->centre->service) > 0)
        continue;
    assert_nowhere(scene, MARKER);
    centre_shell(scene->centre, "! test -e erasing");
    assert_well(scene);
}

static struct scene *meddled_with;

/* As soon as nothing is left in the database's files of the first order, another one is given. */
static int unlock_and_meddle(void *context, int lock)
{
    struct scene *scene = meddled_with;
    _cleanup_free_ char *log = files_join(scene->centre->directory, "centre.db-wal");
    uint64_t size = 0;
    int r = world_posix()->verbs->unlock(NULL, lock);

    if (world_posix()->verbs->stat(NULL, log, &size, NULL) < 0 || size > 0)
        return r;
    scene->centre->verbs.unlock = world_posix()->verbs->unlock;
    give_order_and_die(scene, 2, 2);
    return r;
}

static void an_order_that_is_given_while_another_one_is_finished_is_carried_out_too(void **state)
{
    struct scene *scene = *state;
    struct handheld *handheld = scene->handheld;
    struct service_erasure_report report = {0};

    uint64_t seq = append_finding(handheld, "the first to go");
    append_finding(handheld, MARKER);
    deliver(scene->centre, handheld);
    const struct service_erase_target target = {.id = record_id(handheld, seq)};
    meddled_with = scene;
    scene->centre->verbs.unlock = unlock_and_meddle;
    assert_int_equal(try_erase(scene, &target, false, false, &report), 0);
    assert_ptr_equal(scene->centre->verbs.unlock, world_posix()->verbs->unlock);
    assert_somewhere(scene, MARKER);
    while (service_housekeeping(scene->centre->service) > 0)
        continue;
    assert_nowhere(scene, MARKER);
    centre_shell(scene->centre, "! test -e erasing");
}

static void a_handheld_is_told_until_it_says_that_it_has_carried_the_order_out(void **state)
{
    struct scene *scene = *state;
    struct handheld *handheld = scene->handheld, *other = handheld_enrolled(scene->centre);
    const struct exchange_request done = {.orders_done = 1};
    _cleanup_answered_ struct answered first = {0}, lost = {0}, told = {0}, after = {0}, others = {0};

    uint64_t seq = append_finding(handheld, MARKER);
    deliver(scene->centre, handheld);
    append_opened(other);
    deliver(scene->centre, other);
    erase_record(scene, handheld, seq);
    exchange(scene->centre, other, 1, 0, &others);
    assert_int_equal(others.exchange.erasure_count, 0);
    exchange(scene->centre, handheld, 2, 0, &lost);
    exchange(scene->centre, handheld, 2, 0, &first);
    assert_int_equal(first.exchange.erasure_count, 1);
    const struct erasure_order *order = &first.exchange.erasures[0];
    assert_int64_equal(order->number, 1);
    assert_int_equal(order->record_count, 1);
    assert_int64_equal(order->records[0].at.seq, seq);
    assert_memory_equal(order->records[0].at.log.b, handheld->log.b, UUID_BYTES);
    assert_memory_equal(order->records[0].leaf.b, handheld->leaves[seq].b, SHA256_BYTES);
    exchange_with(scene->centre, handheld, 2, 0, &done, &told);
    assert_int_equal(told.exchange.erasure_count, 0);
    assert_int_equal(centre_sql(scene->centre, "SELECT number FROM orders_done"), 1);
    /* It was set back and says so. */
    exchange(scene->centre, handheld, 2, 0, &after);
    assert_int_equal(after.exchange.erasure_count, 1);
    handheld_free(other);
}

static int note_order(void *user, const struct service_order *order)
{
    struct service_order *kept = user;

    *kept = *order;
    return 0;
}

static void the_list_of_orders_names_who_has_not_carried_them_out(void **state)
{
    struct scene *scene = *state;
    const struct exchange_request done = {.orders_done = 1};
    _cleanup_answered_ struct answered told = {0};
    struct service_order order = {0};

    uint64_t seq = finding_with_photo(scene, scene->handheld);
    deliver(scene->centre, scene->handheld);
    erase_record(scene, scene->handheld, seq);
    assert_int_equal(service_each_order(scene->centre->service, note_order, &order), 0);
    assert_int64_equal(order.number, 1);
    assert_int64_equal(order.records, 1);
    assert_int64_equal(order.photos, 1);
    assert_int_equal(order.device_count, 1);
    assert_int_equal(order.waiting_count, 1);
    exchange_with(scene->centre, scene->handheld, 2, 0, &done, &told);
    assert_int_equal(service_each_order(scene->centre->service, note_order, &order), 0);
    assert_int_equal(order.waiting_count, 0);
}

static void an_order_after_the_file_was_lost_has_a_number_that_no_handheld_has_done(void **state)
{
    struct scene *scene = *state;
    const struct exchange_request done = {.orders_done = 41};
    _cleanup_answered_ struct answered told = {0}, next = {0};

    uint64_t seq = append_finding(scene->handheld, MARKER);
    deliver(scene->centre, scene->handheld);
    exchange_with(scene->centre, scene->handheld, 2, 0, &done, &told);
    assert_int64_equal(erase_record(scene, scene->handheld, seq).order, 42);
    exchange_with(scene->centre, scene->handheld, 2, 0, &done, &next);
    assert_int_equal(next.exchange.erasure_count, 1);
}

static void no_handheld_can_say_a_number_after_which_the_others_are_not_heard(void **state)
{
    struct scene *scene = *state;
    struct handheld *liar = handheld_enrolled(scene->centre);
    const struct exchange_request lie = {.orders_done = UINT64_C(1) << 40};
    const struct exchange_request done = {.orders_done = (UINT64_C(1) << 40) + 1};
    _cleanup_answered_ struct answered lied = {0}, told = {0}, again = {0};
    struct service_order order = {0};

    append_opened(liar);
    exchange_with(scene->centre, liar, 0, 1, &lie, &lied);
    uint64_t seq = append_finding(scene->handheld, MARKER);
    deliver(scene->centre, scene->handheld);
    assert_int64_equal(erase_record(scene, scene->handheld, seq).order, done.orders_done);
    exchange_with(scene->centre, scene->handheld, 2, 0, &done, &told);
    assert_int_equal(service_each_order(scene->centre->service, note_order, &order), 0);
    assert_int_equal(order.device_count, 1);
    assert_int_equal(order.waiting_count, 0);
    /* What no order has is above what is taken. */
    exchange_with(
        scene->centre, liar, 1, 0, &(struct exchange_request){.orders_done = done.orders_done + 1}, &again);
    assert_int64_equal(centre_sql(scene->centre, "SELECT max(number) FROM orders_done"), done.orders_done);
    handheld_free(liar);
}

static void orders_that_cannot_be_read_are_called_by_their_name(void **state)
{
    struct scene *scene = *state;
    struct centre *centre = scene->centre;
    const struct service_options options = {.world = &centre->world, .directory = centre->directory};
    char *error = NULL;

    centre_stop(centre);
    centre_shell(centre, "mkdir orders");
    assert_true(service_open(&options, &centre->service, &error) < 0);
    assert_non_null(error);
    assert_non_null(strstr(error, "cannot open its orders"));
    free(error);
    centre_shell(centre, "rmdir orders");
    centre_start(centre);
}

static void an_order_that_the_file_has_no_room_for_is_refused_and_the_centre_goes_on(void **state)
{
    struct scene *scene = *state;
    struct service_erasure_report report = {0};

    uint64_t seq = append_finding(scene->handheld, MARKER);
    deliver(scene->centre, scene->handheld);
    centre_shell(scene->centre, "head -c 67108800 /dev/zero | tr '\\0' '#' >orders");
    const struct service_erase_target target = {.id = record_id(scene->handheld, seq)};
    assert_int_equal(try_erase(scene, &target, false, false, &report), -EFBIG);
    append_findings(scene->handheld, 1);
    deliver(scene->centre, scene->handheld);
    struct listing *listing = list_findings(scene->centre);
    assert_int_equal(listing->count, 2);
    free(listing);
}

static void a_new_backup_and_one_made_over_an_old_one_have_not_got_it(void **state)
{
    struct scene *scene = *state;
    struct service_backup_report report = {0};
    char *target = unit_directory_make(), *command = NULL;

    uint64_t seq = append_finding(scene->handheld, MARKER);
    finding_with_photo(scene, scene->handheld);
    deliver(scene->centre, scene->handheld);
    upload(scene);
    assert_int_equal(service_backup(scene->centre->service, target, NULL, NULL, NULL, &report), 0);
    erase_record(scene, scene->handheld, seq);
    erase_record(scene, scene->handheld, seq + 1);
    assert_true(asprintf(&command, "grep -rqaF '%s' %s && grep -rqaF '%s' %s", MARKER, target, PHOTO_MARKER,
                    target) > 0);
    centre_shell(scene->centre, command);
    free(command);
    assert_int_equal(service_backup(scene->centre->service, target, NULL, NULL, NULL, &report), 0);
    assert_true(asprintf(&command, "! grep -rqaF '%s' %s && ! grep -rqaF '%s' %s && cmp orders %s/orders",
                    MARKER, target, PHOTO_MARKER, target, target) > 0);
    centre_shell(scene->centre, command);
    free(command);
    unit_directory_remove(target);
}

static void a_backup_has_nothing_of_what_an_order_names_that_was_broken_off(void **state)
{
    struct scene *scene = *state;
    struct service_backup_report report = {0};
    char *target = unit_directory_make();

    uint64_t seq = append_finding(scene->handheld, MARKER);
    deliver(scene->centre, scene->handheld);
    give_order_and_die(scene, 1, seq);
    assert_int_equal(service_backup(scene->centre->service, target, NULL, NULL, NULL, &report), 0);
    assert_not_in(scene, target, MARKER);
    unit_directory_remove(target);
}

static void erase_both(void *user, const struct service_backup_report *so_far)
{
    struct scene *scene = user;

    erase_record(scene, scene->handheld, 1);
    erase_record(scene, scene->handheld, 2);
}

/* Its database is older than the order, its list of orders is not. */
static void an_order_that_is_given_while_a_backup_is_made_is_carried_out_where_it_is_restored(void **state)
{
    struct scene *scene = *state;
    struct service_backup_report report = {0};
    char *target = unit_directory_make(), *error = NULL;
    const struct service_options options = {.world = &scene->centre->world, .directory = target};
    struct service *restored = NULL;

    append_finding(scene->handheld, MARKER);
    finding_with_photo(scene, scene->handheld);
    deliver(scene->centre, scene->handheld);
    upload(scene);
    assert_int_equal(service_backup(scene->centre->service, target, erase_both, NULL, scene, &report), 0);
    assert_int_equal(report.blobs_copied, 1);
    assert_not_in(scene, target, PHOTO_MARKER);
    assert_int_equal(service_open(&options, &restored, &error), 0);
    while (service_housekeeping(restored) > 0)
        continue;
    assert_true(service_erasure_is_finished(restored));
    assert_not_in(scene, target, MARKER);
    service_free(restored);
    unit_directory_remove(target);
}

/* ---- damage in a centre that was set back ---- */

/* A centre with two findings that was set back to before the first was erased; this has befallen it there. */
static uint64_t set_back_with_damage(struct scene *scene, const char *damage)
{
    uint64_t seq = append_finding(scene->handheld, MARKER);

    append_findings(scene->handheld, 2);
    deliver(scene->centre, scene->handheld);
    keep_copy(scene);
    erase_record(scene, scene->handheld, seq);
    set_back(scene);
    centre_sql(scene->centre, damage);
    centre_start(scene->centre);
    while (service_housekeeping(scene->centre->service) > 0)
        continue;
    return seq;
}

static void assert_gone(struct scene *scene, uint64_t seq)
{
    struct listing *listing = list_findings(scene->centre);

    assert_int_equal(listing->count, 2);
    assert_null(listed_at(listing, &scene->handheld->log, seq));
    free(listing);
    assert_nowhere(scene, MARKER);
}

static void an_order_is_carried_out_on_a_row_whose_leaf_is_damaged(void **state)
{
    struct scene *scene = *state;

    uint64_t seq =
        set_back_with_damage(scene, "UPDATE records SET leaf = zeroblob(32) WHERE key % 1099511627776 = 1");
    assert_gone(scene, seq);
    assert_well(scene);
}

static void of_a_row_that_is_gone_an_order_takes_what_was_derived(void **state)
{
    struct scene *scene = *state;

    uint64_t seq = set_back_with_damage(scene, "DELETE FROM records WHERE key % 1099511627776 = 1");
    assert_gone(scene, seq);
    assert_well(scene);
}

/* With two gone of a tile nothing tells what stood there, until they come. */
static void what_comes_in_a_repair_and_was_erased_leaves_nothing_on_the_list(void **state)
{
    struct scene *scene = *state;
    struct repair_run run = {.first_seq = 0, .records = scene->handheld->records, .record_count = 4};
    _cleanup_answered_ struct answered answered = {0};

    uint64_t seq = set_back_with_damage(scene, "DELETE FROM records WHERE key % 1099511627776 IN (1, 2)");
    assert_somewhere(scene, MARKER);
    repair(scene, &(struct repair_request){.runs = &run, .run_count = 1}, &answered);
    assert_int64_equal(answered.repair.records_mended, 4);
    struct listing *listing = list_findings(scene->centre);
    assert_null(listed_at(listing, &scene->handheld->log, seq));
    free(listing);
    centre_restart(scene->centre);
    while (service_housekeeping(scene->centre->service) > 0)
        continue;
    assert_gone(scene, seq);
    centre_shell(scene->centre, "! test -e erasing");
    assert_well(scene);
}

static void another_record_at_the_position_of_an_erased_one_stays(void **state)
{
    struct scene *scene = *state;

    append_finding(scene->handheld, MARKER);
    append_findings(scene->handheld, 1);
    deliver(scene->centre, scene->handheld);
    centre_stop(scene->centre);
    /* Of a copy of the handheld: the order names another leaf. */
    scene->handheld->leaves[1].b[0] ^= 1;
    give_order_and_die(scene, 1, 1);
    scene->handheld->leaves[1].b[0] ^= 1;
    centre_sql(scene->centre, "DELETE FROM records WHERE key % 1099511627776 = 1");
    centre_start(scene->centre);
    while (service_housekeeping(scene->centre->service) > 0)
        continue;
    struct listing *listing = list_findings(scene->centre);
    assert_int_equal(listing->count, 2);
    free(listing);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_centre_set_back_to_before_the_order_carries_it_out_again),
        TEST(an_order_is_carried_out_on_a_row_whose_leaf_is_damaged),
        TEST(of_a_row_that_is_gone_an_order_takes_what_was_derived),
        TEST(what_comes_in_a_repair_and_was_erased_leaves_nothing_on_the_list),
        TEST(another_record_at_the_position_of_an_erased_one_stays),
        TEST(a_photo_that_stays_is_still_asked_for_by_a_centre_that_was_set_back),
        TEST(a_photo_that_stays_is_still_asked_of_every_handheld_whose_records_name_it),
        TEST(a_row_that_was_gone_takes_no_photo_along_that_another_finding_names),
        TEST(an_order_that_was_broken_off_is_carried_out_by_whoever_comes_next),
        TEST(an_order_that_is_given_while_another_one_is_finished_is_carried_out_too),
        TEST(a_handheld_is_told_until_it_says_that_it_has_carried_the_order_out),
        TEST(the_list_of_orders_names_who_has_not_carried_them_out),
        TEST(an_order_after_the_file_was_lost_has_a_number_that_no_handheld_has_done),
        TEST(no_handheld_can_say_a_number_after_which_the_others_are_not_heard),
        TEST(orders_that_cannot_be_read_are_called_by_their_name),
        TEST(an_order_that_the_file_has_no_room_for_is_refused_and_the_centre_goes_on),
        TEST(a_backup_has_nothing_of_what_an_order_names_that_was_broken_off),
        TEST(an_order_that_is_given_while_a_backup_is_made_is_carried_out_where_it_is_restored),
        TEST(a_new_backup_and_one_made_over_an_old_one_have_not_got_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
