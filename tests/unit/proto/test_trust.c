/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of trust statements and the keys that they lead to: proto/trust.c. The vectors are another program's.
 */
#include "proto/trust.h"

#include "tests/unit/proto/message_samples.h"

#include <errno.h>

#define VECTORS "tests/vectors/trust.tsv"
#define KEYS 4u

struct ring {
    struct sign_key keys[KEYS];
    int64_t valid_from_ms[KEYS];
};

static struct ring read_ring(void)
{
    struct vector_file vectors = vector_open(VECTORS);
    struct ring ring;

    for (size_t i = 0; i < KEYS; i++) {
        assert_true(vector_next(&vectors, "key"));
        sign_key_from_seed("gridpatrol.example/receipt", vector_bytes(&vectors, 2).data, &ring.keys[i]);
        assert_bytes_equal(
            bytes_of(ring.keys[i].public.public_key, SIGN_PUBLIC_BYTES), vector_bytes(&vectors, 3));
        ring.valid_from_ms[i] = (int64_t)vector_number(&vectors, 4);
    }
    vector_close(&vectors);
    return ring;
}

static void read_list(const char *name, struct buffer *ret)
{
    struct vector_file vectors = vector_open(VECTORS);

    do
        assert_true(vector_next(&vectors, "list"));
    while (strcmp(vectors.fields[1], name) != 0);
    buffer_put_bytes(ret, vector_bytes(&vectors, 2));
    vector_close(&vectors);
    assert_int_equal(buffer_finish(ret), 0);
}

static int follow(
    const struct buffer *list, const struct sign_key *anchor, struct arena *arena, struct trust *ret)
{
    arena_init(arena, arena_budget_for(TRUST_LIST_BYTES_MAX));
    return trust_follow(buffer_bytes(list), &anchor->public, arena, ret);
}

static void lists_of_the_independent_writer_lead_where_it_says(void **state)
{
    struct vector_file vectors = vector_open(VECTORS);
    struct ring ring = read_ring();
    size_t lists = 0;

    for (; vector_next(&vectors, "list"); lists++) {
        _cleanup_buffer_ struct buffer list = {0};
        _cleanup_arena_ struct arena arena = {0};
        size_t anchor = vector_number(&vectors, 3), newest = vector_number(&vectors, 4);
        struct trust trust;

        buffer_put_bytes(&list, vector_bytes(&vectors, 2));
        assert_int_equal(follow(&list, &ring.keys[anchor], &arena, &trust), 0);
        assert_int_equal(trust.key_count, newest - anchor + 1);
        for (size_t i = anchor; i <= newest; i++) {
            const struct trust_key *key = &trust.keys[i - anchor];

            assert_memory_equal(key->key.public_key, ring.keys[i].public.public_key, SIGN_PUBLIC_BYTES);
            assert_string_equal(key->key.name, "gridpatrol.example/receipt");
            assert_int64_equal(key->valid_from_ms, i == anchor ? 0 : ring.valid_from_ms[i]);
        }
        assert_int_equal(trust.generation, vector_number(&vectors, 5));
        assert_bytes_equal(trust.ca_pem, vector_bytes(&vectors, 6));
    }
    assert_true(lists >= 10);
    vector_close(&vectors);
}

static void lists_that_break_a_rule_are_refused(void **state)
{
    struct vector_file vectors = vector_open(VECTORS);
    struct ring ring = read_ring();
    size_t lists = 0;

    for (; vector_next(&vectors, "refused"); lists++) {
        _cleanup_buffer_ struct buffer list = {0};
        _cleanup_arena_ struct arena arena = {0};
        struct trust trust;
        int r;

        buffer_put_bytes(&list, vector_bytes(&vectors, 2));
        r = follow(&list, &ring.keys[0], &arena, &trust);
        if (r != -EBADMSG && r != -EKEYREJECTED)
            fail_msg("%s: %d", vectors.fields[1], r);
    }
    assert_true(lists >= 15);
    vector_close(&vectors);
}

static void no_altered_bit_of_a_list_leads_to_another_key(void **state)
{
    struct ring ring = read_ring();
    _cleanup_buffer_ struct buffer list = {0};
    size_t refused = 0;

    read_list("a whole life", &list);
    for (size_t bit = 0; bit < list.len * 8; bit++) {
        _cleanup_arena_ struct arena arena = {0};
        struct trust trust;

        list.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (follow(&list, &ring.keys[0], &arena, &trust) < 0) {
            refused++;
        } else {
            assert_true(trust.key_count <= 3);
            for (size_t i = 0; i < trust.key_count; i++)
                assert_memory_equal(
                    trust.keys[i].key.public_key, ring.keys[i].public.public_key, SIGN_PUBLIC_BYTES);
        }
        list.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_true(refused > list.len * 7);
}

static void a_statement_is_signed_and_read_back_as_it_was_meant(void **state)
{
    struct vector_file vectors = vector_open(VECTORS);
    struct ring ring = read_ring();
    struct trust_statement statement = {.authority = bytes_of_text("gridpatrol.example"),
        .generation = 1,
        .has_key = true,
        .valid_from_ms = ring.valid_from_ms[1]};
    _cleanup_buffer_ struct buffer envelope = {0}, plain = {0};
    struct envelope parsed;

    memcpy(statement.public_key, ring.keys[1].public.public_key, SIGN_PUBLIC_BYTES);
    assert_int_equal(trust_statement_sign(&statement, &ring.keys[0], &envelope), 0);
    assert_int_equal(envelope_parse(buffer_bytes(&envelope), &parsed), 0);
    assert_int_equal(envelope_open(&parsed, PAYLOAD_TRUST_STATEMENT, ring.keys[0].public.public_key,
                         TRUST_STATEMENT_BYTES_MAX, &plain),
        0);
    assert_true(vector_next(&vectors, "plain"));
    assert_bytes_equal(buffer_bytes(&plain), vector_bytes(&vectors, 2));
    vector_close(&vectors);
}

static void a_key_is_current_until_a_successor_is_valid(void **state)
{
    struct ring ring = read_ring();
    _cleanup_buffer_ struct buffer list = {0};
    _cleanup_arena_ struct arena arena = {0};
    struct trust trust;
    uint8_t ids[KEYS][8];

    read_list("a whole life", &list);
    assert_int_equal(follow(&list, &ring.keys[0], &arena, &trust), 0);
    for (size_t i = 0; i < KEYS; i++)
        key_id_of(ring.keys[i].public.public_key, ids[i]);
    for (size_t i = 0; i < 2; i++) {
        assert_ptr_equal(trust_find_current(&trust, ids[i], ring.valid_from_ms[i + 1] - 1), &trust.keys[i]);
        assert_null(trust_find_current(&trust, ids[i], ring.valid_from_ms[i + 1]));
        assert_ptr_equal(trust_find(&trust, ids[i]), &trust.keys[i]);
    }
    /* One that is not valid yet may sign already: whoever names it has it. */
    assert_ptr_equal(trust_find_current(&trust, ids[2], 0), &trust.keys[2]);
    assert_ptr_equal(trust_find_current(&trust, ids[2], INT64_MAX), &trust.keys[2]);
    assert_null(trust_find(&trust, ids[3]));
    assert_ptr_equal(trust_newest(&trust), &trust.keys[2]);
}

static void a_successor_that_comes_into_force_first_retires_all_before_it(void **state)
{
    struct ring ring = read_ring();
    _cleanup_arena_ struct arena arena = {0};
    _cleanup_buffer_ struct buffer list = {0};
    struct trust trust;
    uint8_t id[8];

    for (size_t i = 0; i < 2; i++) {
        struct trust_statement statement = {.authority = bytes_of_text("gridpatrol.example"),
            .generation = i + 1,
            .has_key = true,
            .valid_from_ms = i == 0 ? 2000 : 1000};
        _cleanup_buffer_ struct buffer envelope = {0};

        memcpy(statement.public_key, ring.keys[i + 1].public.public_key, SIGN_PUBLIC_BYTES);
        assert_int_equal(trust_statement_sign(&statement, &ring.keys[i], &envelope), 0);
        assert_int_equal(trust_list_put(buffer_bytes(&envelope), &list), 0);
    }
    assert_int_equal(follow(&list, &ring.keys[0], &arena, &trust), 0);
    key_id_of(ring.keys[0].public.public_key, id);
    assert_non_null(trust_find_current(&trust, id, 999));
    assert_null(trust_find_current(&trust, id, 1000));
}

static size_t statements_in(const struct buffer *list)
{
    size_t count = 0;

    for (size_t i = 0; i + 7 <= list->len; i++)
        count += memcmp(list->data + i, "trust-s", 7) == 0;
    return count;
}

static void what_is_kept_leads_to_the_same_and_what_is_newer_can_be_joined(void **state)
{
    struct ring ring = read_ring();
    _cleanup_buffer_ struct buffer list = {0}, kept = {0}, of_keys = {0}, joined = {0};
    _cleanup_arena_ struct arena arena = {0}, other_arena = {0};
    struct trust trust, again;

    read_list("a whole life", &list);
    assert_int_equal(follow(&list, &ring.keys[0], &arena, &trust), 0);
    assert_int_equal(trust_list_encode(&trust, 0, TRUST_ALL, &kept), 0);
    assert_int_equal(statements_in(&kept), 3); /* the first word on CAs is no longer true */
    assert_int_equal(trust_list_encode(&trust, 0, TRUST_KEYS, &of_keys), 0);
    assert_int_equal(statements_in(&of_keys), 2);

    read_list("one successor", &joined);
    assert_int_equal(trust_list_encode(&trust, 1, TRUST_ALL, &joined), 0);
    assert_int_equal(follow(&joined, &ring.keys[0], &other_arena, &again), 0);
    assert_int_equal(again.key_count, 3);
    assert_int_equal(again.generation, 4);
    assert_bytes_equal(again.ca_pem, trust.ca_pem);
}

static void a_statement_without_news_of_cas_does_not_take_them_away(void **state)
{
    struct ring ring = read_ring();
    _cleanup_buffer_ struct buffer list = {0}, kept = {0};
    _cleanup_arena_ struct arena arena = {0}, other_arena = {0};
    struct trust trust, again;

    read_list("no new CAs", &list);
    assert_int_equal(follow(&list, &ring.keys[0], &arena, &trust), 0);
    assert_int_equal(trust_list_encode(&trust, 0, TRUST_ALL, &kept), 0);
    assert_int_equal(follow(&kept, &ring.keys[0], &other_arena, &again), 0);
    assert_true(again.ca_pem.len > 0);
    assert_bytes_equal(again.ca_pem, trust.ca_pem);
    assert_int_equal(again.generation, 4);
}

static void there_are_never_more_keys_than_the_limit(void **state)
{
    struct sign_key first, signer;
    _cleanup_buffer_ struct buffer list = {0};
    uint8_t seed[SIGN_SEED_BYTES] = {1};

    sign_key_from_seed("gridpatrol.example/receipt", seed, &first);
    signer = first;
    for (size_t i = 1; i <= TRUST_KEYS_MAX; i++) {
        struct trust_statement statement = {
            .authority = bytes_of_text("gridpatrol.example"), .generation = i, .has_key = true};
        _cleanup_buffer_ struct buffer envelope = {0};
        _cleanup_arena_ struct arena arena = {0};
        struct sign_key successor;
        struct trust trust;

        seed[0]++;
        sign_key_from_seed("gridpatrol.example/receipt", seed, &successor);
        memcpy(statement.public_key, successor.public.public_key, SIGN_PUBLIC_BYTES);
        assert_int_equal(trust_statement_sign(&statement, &signer, &envelope), 0);
        assert_int_equal(trust_list_put(buffer_bytes(&envelope), &list), 0);
        assert_int_equal(follow(&list, &first, &arena, &trust), i < TRUST_KEYS_MAX ? 0 : -EBADMSG);
        signer = successor;
    }
    assert_true(list.len < TRUST_LIST_BYTES_MAX - CA_PEM_BYTES_MAX - 1024);
}

static void receipts_and_certificates_of_every_key_of_the_chain_hold_and_no_others(void **state)
{
    struct ring ring = read_ring();
    struct sign_key device = sample_device_key();
    _cleanup_buffer_ struct buffer list = {0};
    _cleanup_arena_ struct arena arena = {0};
    struct trust trust;

    read_list("a whole life", &list);
    assert_int_equal(follow(&list, &ring.keys[0], &arena, &trust), 0);
    for (size_t i = 0; i < KEYS; i++) {
        _cleanup_buffer_ struct buffer note = {0}, receipt = {0}, envelope = {0};
        struct checkpoint checkpoint = {.size = 3, .root = sample_hash("root")}, read;
        struct device_certificate certificate = {.authority = bytes_of_text("gridpatrol.example"),
            .tenant = bytes_of_text("default"),
            .device = sample_device()};
        int expected = i < 3 ? 0 : -EKEYREJECTED;
        uint64_t time_s;

        assert_int_equal(origin_format("gridpatrol.example", "default", &sample_log, checkpoint.origin), 0);
        assert_int_equal(checkpoint_sign(&checkpoint, &device, &note), 0);
        assert_int_equal(receipt_cosign(buffer_bytes(&note), &ring.keys[i], 77, &receipt), 0);
        assert_int_equal(
            trust_verify_receipt(&trust, buffer_bytes(&receipt), &device.public, &read, &time_s), expected);
        memcpy(certificate.public_key, device.public.public_key, SIGN_PUBLIC_BYTES);
        assert_int_equal(device_certificate_sign(&certificate, &ring.keys[i], &envelope), 0);
        assert_int_equal(
            trust_verify_certificate(&trust, buffer_bytes(&envelope), &arena, &certificate), expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_of_the_independent_writer_lead_where_it_says),
        cmocka_unit_test(lists_that_break_a_rule_are_refused),
        cmocka_unit_test(no_altered_bit_of_a_list_leads_to_another_key),
        cmocka_unit_test(a_statement_is_signed_and_read_back_as_it_was_meant),
        cmocka_unit_test(a_key_is_current_until_a_successor_is_valid),
        cmocka_unit_test(a_successor_that_comes_into_force_first_retires_all_before_it),
        cmocka_unit_test(what_is_kept_leads_to_the_same_and_what_is_newer_can_be_joined),
        cmocka_unit_test(a_statement_without_news_of_cas_does_not_take_them_away),
        cmocka_unit_test(there_are_never_more_keys_than_the_limit),
        cmocka_unit_test(receipts_and_certificates_of_every_key_of_the_chain_hold_and_no_others),
    };

    return cmocka_run_group_tests_name("proto trust", tests, NULL, NULL);
}
