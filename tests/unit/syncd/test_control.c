/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket with real clients, and a listener that only notes what it was asked for. */
#include "tests/unit/unit.h"

#include "store/control_protocol.h"
#include "syncd/control.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>

#define TURN_US UINT64_C(20000)
#define TURNS_MAX 100

struct scene {
    char *directory, *path;
    sd_event *event;
    struct control *control;
    unsigned syncs, resyncs, pauses;
    int resync_answer;
    enum audit_level level;
    bool paused, not_enrolled;
    int bundle_answer;
    size_t envelope_len; /* of what the agent gives */
    struct uuid log;
    uint64_t first_seq;
    struct buffer taken;
    bool check_only;
};

static json_t *fake_status(void *context)
{
    (void)context;
    return json_pack("{s:i}", "records_queued", 7);
}

static void fake_sync(void *context)
{
    ((struct scene *)context)->syncs++;
}

static int fake_resync(void *context, enum audit_level level)
{
    struct scene *scene = context;
    scene->resyncs++;
    scene->level = level;
    return scene->resync_answer;
}

static void fake_pause(void *context, bool paused)
{
    struct scene *scene = context;
    scene->pauses++;
    scene->paused = paused;
}

static bool fake_enrolled(void *context)
{
    return !((struct scene *)context)->not_enrolled;
}

static int fake_envelope(const struct scene *scene, struct buffer *ret)
{
    uint8_t *place = buffer_extend(ret, scene->envelope_len);

    memset(place, 0xfb, scene->envelope_len);
    return scene->bundle_answer;
}

static int fake_bundle_begin(void *context, uint8_t ret_bundle[REQUEST_ID_BYTES], struct buffer *ret_envelope)
{
    memset(ret_bundle, 0xb0, REQUEST_ID_BYTES);
    return fake_envelope(context, ret_envelope);
}

static int fake_bundle_part(
    void *context, const struct uuid *log, uint64_t first_seq, struct buffer *ret_envelope, uint64_t *ret_end)
{
    struct scene *scene = context;

    scene->log = *log;
    scene->first_seq = first_seq;
    *ret_end = first_seq + 5;
    return fake_envelope(scene, ret_envelope);
}

static int fake_receipts(void *context, struct bytes envelope, bool check_only, struct agent_receipts *ret)
{
    struct scene *scene = context;

    buffer_clear(&scene->taken);
    buffer_put_bytes(&scene->taken, envelope);
    scene->check_only = check_only;
    *ret =
        (struct agent_receipts){.part = 2, .is_last = true, .log = RECEIPTS_LOG_FORKED, .photos_stored = 4};
    return scene->bundle_answer;
}

static int start(void **state)
{
    struct scene *scene = calloc(1, sizeof(*scene));
    const struct control_listener listener = {.status = fake_status,
        .sync_now = fake_sync,
        .resync = fake_resync,
        .pause = fake_pause,
        .bundle_begin = fake_bundle_begin,
        .bundle_part = fake_bundle_part,
        .receipts = fake_receipts,
        .enrolled = fake_enrolled,
        .context = scene};

    scene->directory = unit_directory_make();
    assert_true(asprintf(&scene->path, "%s/control.sock", scene->directory) > 0);
    assert_true(sd_event_new(&scene->event) >= 0);
    assert_int_equal(control_new(scene->event, scene->path, &listener, &scene->control), 0);
    *state = scene;
    return 0;
}

static int stop(void **state)
{
    struct scene *scene = *state;
    control_free(scene->control);
    sd_event_unref(scene->event);
    unit_directory_remove(scene->directory);
    buffer_done(&scene->taken);
    free(scene->path);
    free(scene);
    return 0;
}

static int dial(const struct scene *scene)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    assert_true(strlen(scene->path) < sizeof(address.sun_path));
    strcpy(address.sun_path, scene->path);
    assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text) + 1, MSG_NOSIGNAL), strlen(text) + 1);
}

/* The next message for this client, allocated; NULL when it was hung up on. */
static json_t *hear(struct scene *scene, int fd)
{
    static char text[CONTROL_MESSAGE_BYTES_MAX];
    size_t len = 0;

    for (int turn = 0; turn < TURNS_MAX;) {
        ssize_t n = recv(fd, text + len, 1, 0);
        if (n == 0 || (n < 0 && errno == ECONNRESET))
            return NULL;
        if (n < 0) {
            sd_event_run(scene->event, TURN_US);
            turn++;
            continue;
        }
        if (text[len++] == '\0')
            return json_loads(text, 0, NULL);
        assert_true(len < sizeof(text));
        turn = 0;
    }
    fail_msg("nothing was heard");
    return NULL;
}

static bool member_is(const json_t *message, const char *object, const char *name, const char *wanted)
{
    const json_t *inside = object ? json_object_get(message, object) : message;
    const char *text = json_string_value(json_object_get(inside, name));
    return text && strcmp(text, wanted) == 0;
}

static bool says_error(struct scene *scene, int fd, const char *wanted)
{
    json_t *message = hear(scene, fd);
    bool is = member_is(message, NULL, "error", wanted);
    json_decref(message);
    return is;
}

static bool is_progress(const json_t *message)
{
    return json_is_true(json_object_get(message, "continues"));
}

static void sync_with_wait_tells_progress_and_then_the_end(void **state)
{
    struct scene *scene = *state;
    int fd = dial(scene);

    say(fd, "{\"method\":\"Sync\",\"parameters\":{\"wait\":true},\"more\":true}");
    json_t *message = hear(scene, fd);
    assert_int_equal(scene->syncs, 1);
    assert_true(is_progress(message));
    json_decref(message);
    control_sync_done(scene->control, true, false, NULL);
    message = hear(scene, fd);
    assert_false(is_progress(message));
    assert_true(json_is_true(json_object_get(json_object_get(message, "parameters"), "done")));
    json_decref(message);
    close(fd);
}

static void sync_without_more_hears_only_the_end(void **state)
{
    struct scene *scene = *state;
    int fd = dial(scene);

    say(fd, "{\"method\":\"Sync\",\"parameters\":{\"wait\":true}}");
    while (scene->syncs == 0)
        sd_event_run(scene->event, TURN_US);
    control_changed(scene->control);
    sd_event_run(scene->event, (uint64_t)CONTROL_TELL_MS * 2000);
    control_sync_done(scene->control, false, true, "revoked");
    json_t *message = hear(scene, fd);
    assert_false(is_progress(message));
    assert_true(json_is_true(json_object_get(json_object_get(message, "parameters"), "refused")));
    assert_true(member_is(message, "parameters", "reason", "revoked"));
    json_decref(message);
    close(fd);
}

static void sync_without_wait_is_answered_at_once(void **state)
{
    struct scene *scene = *state;
    int fd = dial(scene);

    say(fd, "{\"method\":\"Sync\"}");
    json_t *message = hear(scene, fd);
    assert_true(json_is_true(json_object_get(json_object_get(message, "parameters"), "started")));
    assert_int_equal(scene->syncs, 1);
    json_decref(message);
    close(fd);
}

static void whoever_is_not_enrolled_is_told_so(void **state)
{
    struct scene *scene = *state;
    int fd = dial(scene);

    scene->not_enrolled = true;
    say(fd, "{\"method\":\"Sync\",\"parameters\":{\"wait\":true}}");
    assert_true(says_error(scene, fd, CONTROL_ERROR_NOT_ENROLLED));
    scene->resync_answer = -ENOTCONN;
    say(fd, "{\"method\":\"Resync\"}");
    assert_true(says_error(scene, fd, CONTROL_ERROR_NOT_ENROLLED));
    assert_int_equal(scene->syncs, 0);
    close(fd);
}

static void resync_hands_on_its_level_and_ends_with_the_report(void **state)
{
    struct scene *scene = *state;
    const struct resync_report report = {
        .finished = true, .ok = true, .level = AUDIT_MEDIA, .blobs_checked = 5};
    int fd = dial(scene);

    say(fd, "{\"method\":\"Resync\",\"parameters\":{\"level\":\"media\"}}");
    while (scene->resyncs == 0)
        sd_event_run(scene->event, TURN_US);
    assert_int_equal(scene->level, AUDIT_MEDIA);
    control_resync_done(scene->control, &report, false);
    json_t *message = hear(scene, fd);
    const json_t *told = json_object_get(message, "parameters");
    assert_true(json_is_true(json_object_get(told, "ok")));
    assert_int_equal(json_integer_value(json_object_get(told, "blobs_checked")), 5);
    json_decref(message);
    close(fd);
}

static void resync_of_no_level_is_refused_and_the_client_goes_on(void **state)
{
    struct scene *scene = *state;
    int fd = dial(scene);

    say(fd, "{\"method\":\"Resync\",\"parameters\":{\"level\":\"everything\"}}");
    assert_true(says_error(scene, fd, CONTROL_ERROR_PARAMETER));
    assert_int_equal(scene->resyncs, 0);
    say(fd, "{\"method\":\"Nothing\"}");
    assert_true(says_error(scene, fd, CONTROL_ERROR_METHOD));
    say(fd, "{\"method\":\"Status\"}");
    json_t *message = hear(scene, fd);
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(message, "parameters"), "records_queued")), 7);
    json_decref(message);
    close(fd);
}

static void pause_hands_on_what_is_wanted(void **state)
{
    struct scene *scene = *state;
    int fd = dial(scene);

    say(fd, "{\"method\":\"Pause\",\"parameters\":{\"paused\":true}}");
    json_decref(hear(scene, fd));
    assert_true(scene->paused);
    say(fd, "{\"method\":\"Pause\",\"parameters\":{\"paused\":false}}");
    json_decref(hear(scene, fd));
    assert_false(scene->paused);
    assert_int_equal(scene->pauses, 2);
    close(fd);
}

static json_int_t told(const json_t *message, const char *name)
{
    return json_integer_value(json_object_get(json_object_get(message, "parameters"), name));
}

static void the_longest_envelope_of_a_bundle_fits_a_message(void **state)
{
    struct scene *scene = *state;
    int fd = dial(scene);

    /* A batch of the longest records that nothing can compress, and what stands round it. */
    scene->envelope_len = AGENT_BUNDLE_PLAIN_BYTES_MAX + RECORD_BYTES_MAX + 8192;
    say(fd,
        "{\"method\":\"Bundle\",\"parameters\":{\"log\":\"6fa1c0de-0102-4304-8506-0708090a0b0c\",\"from_seq\":41}}");
    json_t *message = hear(scene, fd);
    assert_non_null(message);
    assert_int_equal(scene->log.b[0], 0x6f);
    assert_int64_equal(scene->first_seq, 41);
    assert_int64_equal(told(message, "next_seq"), 46);
    assert_int_equal(json_string_length(json_object_get(json_object_get(message, "parameters"), "envelope")),
        (scene->envelope_len + 2) / 3 * 4);
    json_decref(message);
    scene->envelope_len = 3;
    say(fd, "{\"method\":\"BundleBegin\"}");
    message = hear(scene, fd);
    assert_true(member_is(message, "parameters", "bundle", "b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0"));
    assert_true(member_is(message, "parameters", "envelope", "+/v7"));
    json_decref(message);
    close(fd);
}

static void receipts_are_handed_on_as_they_are_and_what_they_say_comes_back(void **state)
{
    struct scene *scene = *state;
    int fd = dial(scene);

    say(fd, "{\"method\":\"Receipts\",\"parameters\":{\"envelope\":\"+/v7AA==\",\"check\":true}}");
    json_t *message = hear(scene, fd);
    assert_true(scene->check_only);
    assert_int_equal(scene->taken.len, 4);
    assert_memory_equal(scene->taken.data, "\xfb\xfb\xfb\0", 4);
    assert_true(member_is(message, "parameters", "log", "forked"));
    assert_int64_equal(told(message, "part"), 2);
    assert_int64_equal(told(message, "photos_stored"), 4);
    json_decref(message);
    say(fd, "{\"method\":\"Receipts\",\"parameters\":{\"envelope\":\"AAAA\"}}");
    json_decref(hear(scene, fd));
    assert_false(scene->check_only);
    close(fd);
}

static void what_is_wrong_with_a_bundle_or_its_receipts_is_told_and_the_client_goes_on(void **state)
{
    static const struct {
        int answer;
        const char *error;
    } wrong[] = {
        {-ENOTCONN, CONTROL_ERROR_NOT_ENROLLED},
        {-ENODATA, CONTROL_ERROR_NOTHING},
        {-EBADMSG, CONTROL_ERROR_REFUSED},
        {-EKEYREJECTED, CONTROL_ERROR_REFUSED},
        {-EXDEV, CONTROL_ERROR_REFUSED},
        {-ENOENT, CONTROL_ERROR_REFUSED},
        {-ESTALE, CONTROL_ERROR_REFUSED},
        {-EBUSY, CONTROL_ERROR_BUSY},
        {-EIO, CONTROL_ERROR_FAILED},
    };
    struct scene *scene = *state;
    int fd = dial(scene);

    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        scene->bundle_answer = wrong[i].answer;
        say(fd, "{\"method\":\"BundleBegin\"}");
        assert_true(says_error(scene, fd, wrong[i].error));
        say(fd, "{\"method\":\"Receipts\",\"parameters\":{\"envelope\":\"AAAA\"}}");
        assert_true(says_error(scene, fd, wrong[i].error));
    }
    scene->bundle_answer = 0;
    say(fd, "{\"method\":\"Receipts\",\"parameters\":{\"envelope\":\"AA\"}}");
    assert_true(says_error(scene, fd, CONTROL_ERROR_REFUSED));
    say(fd, "{\"method\":\"Receipts\"}");
    assert_true(says_error(scene, fd, CONTROL_ERROR_REFUSED));
    say(fd, "{\"method\":\"Bundle\",\"parameters\":{\"log\":\"x\",\"from_seq\":1}}");
    assert_true(says_error(scene, fd, CONTROL_ERROR_PARAMETER));
    close(fd);
}

static void call_while_another_waits_hangs_up(void **state)
{
    struct scene *scene = *state;
    int fd = dial(scene);

    say(fd, "{\"method\":\"Sync\",\"parameters\":{\"wait\":true}}");
    say(fd, "{\"method\":\"Status\"}");
    assert_null(hear(scene, fd));
    close(fd);
}

static void clients_over_the_limit_are_hung_up_on_and_places_come_free(void **state)
{
    struct scene *scene = *state;
    int fds[CONTROL_CLIENTS_MAX];

    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        fds[i] = dial(scene);
        say(fds[i], "{\"method\":\"Status\"}");
        json_decref(hear(scene, fds[i]));
    }
    int fd = dial(scene);
    assert_null(hear(scene, fd));
    close(fd);
    close(fds[3]);
    for (int turn = 0; turn < 3; turn++)
        sd_event_run(scene->event, TURN_US);
    fd = dial(scene);
    say(fd, "{\"method\":\"Status\"}");
    json_t *message = hear(scene, fd);
    assert_non_null(message);
    json_decref(message);
    close(fd);
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++)
        if (i != 3)
            close(fds[i]);
}

static void client_that_has_left_while_it_waited_is_forgotten(void **state)
{
    struct scene *scene = *state;
    int fd = dial(scene);

    say(fd, "{\"method\":\"Sync\",\"parameters\":{\"wait\":true},\"more\":true}");
    while (scene->syncs == 0)
        sd_event_run(scene->event, TURN_US);
    close(fd);
    control_sync_done(scene->control, true, false, NULL);
    fd = dial(scene);
    say(fd, "{\"method\":\"Status\"}");
    json_t *message = hear(scene, fd);
    assert_non_null(message);
    json_decref(message);
    close(fd);
}

static void left_over_socket_is_replaced_and_the_own_one_removed(void **state)
{
    struct scene *scene = *state;
    struct control *second = NULL;
    const struct control_listener listener = {.status = fake_status, .context = scene};

    assert_int_equal(control_new(scene->event, scene->path, &listener, &second), 0);
    int fd = dial(scene);
    say(fd, "{\"method\":\"Status\"}");
    json_decref(hear(scene, fd));
    close(fd);
    control_free(second);
    assert_int_not_equal(access(scene->path, F_OK), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
        TEST(sync_with_wait_tells_progress_and_then_the_end),
        TEST(sync_without_more_hears_only_the_end),
        TEST(sync_without_wait_is_answered_at_once),
        TEST(whoever_is_not_enrolled_is_told_so),
        TEST(resync_hands_on_its_level_and_ends_with_the_report),
        TEST(resync_of_no_level_is_refused_and_the_client_goes_on),
        TEST(pause_hands_on_what_is_wanted),
        TEST(the_longest_envelope_of_a_bundle_fits_a_message),
        TEST(receipts_are_handed_on_as_they_are_and_what_they_say_comes_back),
        TEST(what_is_wrong_with_a_bundle_or_its_receipts_is_told_and_the_client_goes_on),
        TEST(call_while_another_waits_hangs_up),
        TEST(clients_over_the_limit_are_hung_up_on_and_places_come_free),
        TEST(client_that_has_left_while_it_waited_is_forgotten),
        TEST(left_over_socket_is_replaced_and_the_own_one_removed),
#undef TEST
    };
    return cmocka_run_group_tests_name("control", tests, NULL, NULL);
}
