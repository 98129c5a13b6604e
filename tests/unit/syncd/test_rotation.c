/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of which device key signs, by its files: syncd/rotation.c. */
#include "tests/unit/syncd/agent_story.h"

#include "syncd/rotation.h"

#include <errno.h>

/* A handheld whose files are those of the story's enrolment, with a next key that waits. */
struct scene {
    struct agent_story story;
    uint8_t old_seed[SIGN_SEED_BYTES], next_seed[SIGN_SEED_BYTES];
    struct sign_key next;
    struct buffer old_certificate, next_certificate;
};

static struct enrolment *enrolment_of(struct scene *scene)
{
    return &scene->story.enrolment;
}

static void certify(const struct scene *scene, const struct uuid *device,
    const uint8_t public_key[SIGN_PUBLIC_BYTES], struct buffer *ret)
{
    const struct agent_story *story = &scene->story;
    struct device_certificate certificate = {.authority = bytes_of_text(story->enrolment.authority),
        .tenant = bytes_of_text(story->enrolment.tenant),
        .device = *device};

    memcpy(certificate.public_key, public_key, SIGN_PUBLIC_BYTES);
    assert_int_equal(device_certificate_sign(&certificate, &story->centre.receipt_key, ret), 0);
}

static void write_enrolment(struct scene *scene)
{
    struct enrolment written = *enrolment_of(scene);

    written.certificate = scene->old_certificate.data;
    written.certificate_len = scene->old_certificate.len;
    assert_int_equal(enrolment_write(scene->story.world, scene->story.directory, &written), 0);
}

static void begin(struct scene *scene)
{
    struct agent_story *story = &scene->story;
    struct sign_key old;
    bool waited = true;

    *scene = (struct scene){0};
    agent_story_begin(story);
    assert_int_equal(
        device_key_make(story->world, story->directory, &story->centre.device, scene->old_seed), 0);
    story->enrolment.device = story->centre.device;
    assert_int_equal(agent_set_enrolment(story->agent, enrolment_of(scene), scene->old_seed), 0);
    sign_key_from_seed("device", scene->old_seed, &old);
    certify(scene, &story->centre.device, old.public.public_key, &scene->old_certificate);
    write_enrolment(scene);
    assert_int_equal(
        rotation_begin(story->world, story->directory, enrolment_of(scene), story->agent, &waited), 0);
    assert_false(waited);
    assert_int_equal(
        device_next_key_read(story->world, story->directory, &story->centre.device, scene->next_seed), 0);
    sign_key_from_seed("device", scene->next_seed, &scene->next);
    certify(scene, &story->centre.device, scene->next.public.public_key, &scene->next_certificate);
}

static void end(struct scene *scene)
{
    buffer_done(&scene->old_certificate);
    buffer_done(&scene->next_certificate);
    agent_story_end(&scene->story);
}

static void assert_signs_with(
    struct scene *scene, const uint8_t expected[SIGN_SEED_BYTES], const struct buffer *certificate)
{
    const struct agent_story *story = &scene->story;
    struct enrolment read;
    uint8_t seed[SIGN_SEED_BYTES];
    char *error = NULL;

    assert_int_equal(enrolment_read(story->world, story->directory, &read, &error), 0);
    assert_int_equal(rotation_load(story->world, story->directory, &read, seed), 0);
    assert_memory_equal(seed, expected, sizeof(seed));
    assert_true(bytes_equal(bytes_of(read.certificate, read.certificate_len), buffer_bytes(certificate)));
    enrolment_done(&read);
}

static int take(struct scene *scene, const struct buffer *certificate, const struct sign_key *key)
{
    const struct agent_story *story = &scene->story;

    return rotation_take(story->world, story->directory, enrolment_of(scene), buffer_bytes(certificate),
        key->public.public_key);
}

static void a_key_without_a_kept_certificate_does_not_sign(void **state)
{
    struct scene scene;
    struct buffer strange = {0};
    struct uuid other;
    bool waits = false;

    (void)state;
    begin(&scene);
    other = scene.story.centre.device;
    other.b[3] ^= 1;
    assert_signs_with(&scene, scene.old_seed, &scene.old_certificate);
    /* One of another device counts for nothing, whoever has put it there. */
    certify(&scene, &other, scene.next.public.public_key, &strange);
    assert_int_equal(enrolment_certificates_add(scene.story.world, scene.story.directory,
                         buffer_bytes(&scene.old_certificate), buffer_bytes(&strange)),
        0);
    assert_signs_with(&scene, scene.old_seed, &scene.old_certificate);
    assert_int_equal(rotation_go_on(scene.story.world, scene.story.directory, enrolment_of(&scene),
                         scene.story.agent, &waits),
        0);
    assert_true(waits);
    buffer_done(&strange);
    end(&scene);
}

static void a_certificate_of_a_key_that_is_not_here_changes_nothing(void **state)
{
    static const uint8_t seed[SIGN_SEED_BYTES] = {0x99};
    struct scene scene;
    struct buffer certificate = {0};
    struct sign_key strange;

    (void)state;
    begin(&scene);
    sign_key_from_seed("device", seed, &strange);
    certify(&scene, &scene.story.centre.device, strange.public.public_key, &certificate);
    assert_int_equal(take(&scene, &certificate, &strange), 0);
    assert_signs_with(&scene, scene.old_seed, &scene.old_certificate);
    buffer_done(&certificate);
    end(&scene);
}

static void the_key_whose_certificate_was_taken_signs_and_nothing_waits_any_more(void **state)
{
    struct scene scene;
    struct uuid device;
    uint8_t seed[SIGN_SEED_BYTES];
    bool waits = true;

    (void)state;
    begin(&scene);
    assert_int_equal(take(&scene, &scene.next_certificate, &scene.next), 1);
    assert_signs_with(&scene, scene.next_seed, &scene.next_certificate);
    assert_signs_with(&scene, scene.next_seed, &scene.next_certificate);
    assert_int_equal(device_next_key_read(scene.story.world, scene.story.directory, &device, seed), -ENOENT);
    assert_int_equal(rotation_go_on(scene.story.world, scene.story.directory, enrolment_of(&scene),
                         scene.story.agent, &waits),
        0);
    assert_false(waits);
    end(&scene);
}

/* A death before enrolment.conf was replaced; or somebody who had read it before has written it since. */
static void what_enrolment_conf_says_follows_the_key_that_signs(void **state)
{
    struct scene scene;

    (void)state;
    begin(&scene);
    assert_int_equal(enrolment_certificates_add(scene.story.world, scene.story.directory,
                         buffer_bytes(&scene.old_certificate), buffer_bytes(&scene.next_certificate)),
        0);
    for (int times = 0; times < 2; times++) {
        struct enrolment read;
        char *error = NULL;

        assert_signs_with(&scene, scene.next_seed, &scene.next_certificate);
        assert_int_equal(enrolment_read(scene.story.world, scene.story.directory, &read, &error), 0);
        assert_true(bytes_equal(
            bytes_of(read.certificate, read.certificate_len), buffer_bytes(&scene.next_certificate)));
        enrolment_done(&read);
        write_enrolment(&scene);
    }
    end(&scene);
}

static void a_certificate_that_comes_after_the_handheld_was_enrolled_elsewhere_is_not_taken(void **state)
{
    struct scene scene;
    struct enrolment elsewhere, read;
    char *error = NULL, authority[] = "elsewhere.example";

    (void)state;
    begin(&scene);
    elsewhere = *enrolment_of(&scene);
    elsewhere.authority = authority;
    elsewhere.certificate = scene.old_certificate.data;
    elsewhere.certificate_len = scene.old_certificate.len;
    assert_int_equal(enrolment_write(scene.story.world, scene.story.directory, &elsewhere), 0);
    assert_int_equal(take(&scene, &scene.next_certificate, &scene.next), -ESTALE);
    assert_int_equal(enrolment_read(scene.story.world, scene.story.directory, &read, &error), 0);
    assert_string_equal(read.authority, authority);
    enrolment_done(&read);
    end(&scene);
}

/* ---- a disk that takes its time, or does not take something ---- */

static struct scene *hooked;

static int rename_beside_a_person(void *context, const char *from, const char *to)
{
    int r = world_posix()->verbs->rename(NULL, from, to);

    (void)context;
    if (strstr(to, "/certificates")) {
        enrolment_of(hooked)->server_url = strdup("https://new.example:1");
        write_enrolment(hooked);
    }
    return r;
}

static int rename_no_key(void *context, const char *from, const char *to)
{
    (void)context;
    return strstr(to, "/device.key") ? -ENOSPC : world_posix()->verbs->rename(NULL, from, to);
}

static void what_a_person_writes_into_enrolment_conf_meanwhile_stays(void **state)
{
    struct scene scene;
    struct world_verbs verbs;
    struct enrolment read;
    char *error = NULL, *url;

    (void)state;
    begin(&scene);
    hooked = &scene;
    url = enrolment_of(&scene)->server_url;
    verbs = *scene.story.world->verbs;
    verbs.rename = rename_beside_a_person;
    const struct world world = {.verbs = &verbs, .context = scene.story.world->context};
    assert_int_equal(rotation_take(&world, scene.story.directory, enrolment_of(&scene),
                         buffer_bytes(&scene.next_certificate), scene.next.public.public_key),
        1);
    assert_int_equal(enrolment_read(scene.story.world, scene.story.directory, &read, &error), 0);
    assert_string_equal(read.server_url, "https://new.example:1");
    assert_true(
        bytes_equal(bytes_of(read.certificate, read.certificate_len), buffer_bytes(&scene.next_certificate)));
    enrolment_done(&read);
    free(enrolment_of(&scene)->server_url);
    enrolment_of(&scene)->server_url = url;
    end(&scene);
}

/* The next key signs all the same. But no other is made in its place, which would be lost with it. */
static void no_further_key_is_made_while_the_disk_does_not_take_the_one_before(void **state)
{
    struct scene scene;
    struct world_verbs verbs;
    struct enrolment read;
    uint8_t seed[SIGN_SEED_BYTES];
    char *error = NULL;
    bool waited = true;

    (void)state;
    begin(&scene);
    assert_int_equal(take(&scene, &scene.next_certificate, &scene.next), 1);
    verbs = *scene.story.world->verbs;
    verbs.rename = rename_no_key;
    const struct world world = {.verbs = &verbs, .context = scene.story.world->context};
    assert_int_equal(enrolment_read(&world, scene.story.directory, &read, &error), 0);
    assert_int_equal(rotation_load(&world, scene.story.directory, &read, seed), 0);
    assert_memory_equal(seed, scene.next_seed, sizeof(seed));
    assert_int_equal(
        rotation_begin(&world, scene.story.directory, &read, scene.story.agent, &waited), -EAGAIN);
    enrolment_done(&read);
    assert_signs_with(&scene, scene.next_seed, &scene.next_certificate);
    end(&scene);
}

static void a_key_of_another_device_signs_nothing(void **state)
{
    struct scene scene;
    uint8_t seed[SIGN_SEED_BYTES];

    (void)state;
    begin(&scene);
    enrolment_of(&scene)->device.b[3] ^= 1;
    assert_int_equal(
        rotation_load(scene.story.world, scene.story.directory, enrolment_of(&scene), seed), -EBADMSG);
    end(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_without_a_kept_certificate_does_not_sign),
        cmocka_unit_test(a_certificate_of_a_key_that_is_not_here_changes_nothing),
        cmocka_unit_test(the_key_whose_certificate_was_taken_signs_and_nothing_waits_any_more),
        cmocka_unit_test(what_enrolment_conf_says_follows_the_key_that_signs),
        cmocka_unit_test(a_certificate_that_comes_after_the_handheld_was_enrolled_elsewhere_is_not_taken),
        cmocka_unit_test(what_a_person_writes_into_enrolment_conf_meanwhile_stays),
        cmocka_unit_test(no_further_key_is_made_while_the_disk_does_not_take_the_one_before),
        cmocka_unit_test(a_key_of_another_device_signs_nothing),
    };

    return cmocka_run_group_tests_name("rotation", tests, NULL, NULL);
}
