/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests of proto/checkpoint.h and proto/note.h: checkpoints and receipts equal those of
 * tests/vectors/notes.tsv, hold only with the right keys, and with no byte changed.
 */
#include "tests/unit/proto/vectors.h"

#include "proto/checkpoint.h"
#include "proto/note.h"

#include <errno.h>
#include <sodium.h>

/* The keys of the vectors. */
struct keys {
    struct sign_key device, server;
};

static struct keys vector_keys(void)
{
    struct vector_file vectors = vector_open("tests/vectors/notes.tsv");
    struct sign_key made[2];
    struct keys keys;

    for (size_t i = 0; i < 2; i++) {
        struct bytes name, seed;
        char text[KEY_NAME_MAX + 1] = {0};

        assert_true(vector_next(&vectors, "key"));
        name = vector_bytes(&vectors, 1);
        seed = vector_bytes(&vectors, 2);
        memcpy(text, name.data, name.len);
        sign_key_from_seed(text, seed.data, &made[i]);
    }
    vector_close(&vectors);
    keys = (struct keys){.device = made[0], .server = made[1]};
    return keys;
}

static struct checkpoint example(uint64_t size)
{
    struct checkpoint checkpoint = {.origin = "gridpatrol.example/default/log", .size = size};

    checkpoint.root = sha256_of(bytes_of_text("any root"));
    return checkpoint;
}

/* A receipt over `example(200)`. */
static void make_receipt(const struct keys *keys, struct buffer *ret)
{
    _cleanup_buffer_ struct buffer note = {0};
    struct checkpoint checkpoint = example(200);

    assert_int_equal(checkpoint_sign(&checkpoint, &keys->device, &note), 0);
    assert_int_equal(receipt_cosign(buffer_bytes(&note), &keys->server, 1784000000, ret), 0);
}

static void checkpoints_and_receipts_equal_the_independent_ones(void **state)
{
    struct vector_file vectors = vector_open("tests/vectors/notes.tsv");
    struct vector_file receipts = vector_open("tests/vectors/notes.tsv");
    struct keys keys = vector_keys();
    size_t checked = 0;

    while (vector_next(&vectors, "checkpoint")) {
        _cleanup_buffer_ struct buffer note = {0};
        struct bytes origin = vector_bytes(&vectors, 1), root = vector_bytes(&vectors, 3);
        struct bytes expected = vector_bytes(&vectors, 4);
        struct checkpoint checkpoint = {.size = vector_number(&vectors, 2)}, read;

        memcpy(checkpoint.origin, origin.data, origin.len);
        assert_int_equal(sha256_from_bytes(root, &checkpoint.root), 0);
        assert_int_equal(checkpoint_sign(&checkpoint, &keys.device, &note), 0);
        assert_true(bytes_equal(buffer_bytes(&note), expected));
        assert_int_equal(checkpoint_verify(expected, &keys.device.public, &read), 0);
        assert_memory_equal(&read, &checkpoint, sizeof(read));

        for (size_t i = 0; i < 3; i++) {
            _cleanup_buffer_ struct buffer receipt = {0};
            uint64_t time_s, read_time_s = 0;

            assert_true(vector_next(&receipts, "receipt"));
            assert_true(vector_number(&receipts, 1) == checkpoint.size);
            time_s = vector_number(&receipts, 2);
            expected = vector_bytes(&receipts, 3);
            assert_int_equal(receipt_cosign(buffer_bytes(&note), &keys.server, time_s, &receipt), 0);
            assert_true(bytes_equal(buffer_bytes(&receipt), expected));
            assert_int_equal(
                receipt_verify(expected, &keys.device.public, &keys.server.public, &read, &read_time_s), 0);
            assert_memory_equal(&read, &checkpoint, sizeof(read));
            assert_true(read_time_s == time_s);
            checked++;
        }
    }
    vector_close(&vectors);
    vector_close(&receipts);
    assert_int_equal(checked, 15);
}

/* The example in the documentation of Go's note package: somebody else's key and signature. */
static void published_note_holds(void **state)
{
    static const char text[] =
        "If you think cryptography is the answer to your problem,\n"
        "then you don't know what your problem is.\n"
        "\n"
        "\xe2\x80\x94 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2"
        "pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
    uint8_t signature[SIGNATURE_BYTES];
    struct verify_key key;
    struct note note;

    assert_int_equal(
        verify_key_parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", &key), 0);
    assert_int_equal(note_parse(bytes_of_text(text), &note), 0);
    assert_int_equal(note_find_signature(&note, &key, SIGNATURE_ED25519, signature, sizeof(signature)), 0);
    assert_int_equal(
        crypto_sign_verify_detached(signature, note.text.data, note.text.len, key.public_key), 0);
    assert_int_equal(
        note_find_signature(&note, &key, SIGNATURE_COSIGNATURE, signature, sizeof(signature)), -EKEYREJECTED);
}

static void receipt_with_any_bit_changed_is_refused(void **state)
{
    _cleanup_buffer_ struct buffer receipt = {0};
    struct keys keys = vector_keys();
    struct checkpoint read = {.size = 77};
    uint64_t time_s = 77;

    make_receipt(&keys, &receipt);
    for (size_t bit = 0; bit < receipt.len * 8; bit++) {
        int r;

        receipt.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        r = receipt_verify(buffer_bytes(&receipt), &keys.device.public, &keys.server.public, &read, &time_s);
        assert_true(r == -EBADMSG || r == -EKEYREJECTED);
        receipt.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_int_equal(read.size, 77);
    assert_int_equal(time_s, 77);
    assert_int_equal(
        receipt_verify(buffer_bytes(&receipt), &keys.device.public, &keys.server.public, &read, &time_s), 0);
}

static void receipt_cut_anywhere_is_refused(void **state)
{
    _cleanup_buffer_ struct buffer receipt = {0};
    struct keys keys = vector_keys();
    struct checkpoint read;
    uint64_t time_s;

    make_receipt(&keys, &receipt);
    for (size_t len = 0; len < receipt.len; len++)
        assert_true(receipt_verify(bytes_of(receipt.data, len), &keys.device.public, &keys.server.public,
                        &read, &time_s) < 0);
    for (size_t from = 1; from < receipt.len; from++)
        assert_true(receipt_verify(bytes_of(receipt.data + from, receipt.len - from), &keys.device.public,
                        &keys.server.public, &read, &time_s) < 0);
}

static void checkpoint_without_cosignature_is_no_receipt(void **state)
{
    _cleanup_buffer_ struct buffer note = {0}, receipt = {0};
    struct keys keys = vector_keys();
    struct checkpoint checkpoint = example(5), read;
    uint64_t time_s;

    assert_int_equal(checkpoint_sign(&checkpoint, &keys.device, &note), 0);
    assert_int_equal(
        receipt_verify(buffer_bytes(&note), &keys.device.public, &keys.server.public, &read, &time_s),
        -EKEYREJECTED);
    /* A device cannot cosign for itself, nor a server's key stand for the device's. */
    assert_int_equal(receipt_cosign(buffer_bytes(&note), &keys.device, 1, &receipt), 0);
    assert_int_equal(
        receipt_verify(buffer_bytes(&receipt), &keys.device.public, &keys.server.public, &read, &time_s),
        -EKEYREJECTED);
    assert_int_equal(checkpoint_verify(buffer_bytes(&note), &keys.server.public, &read), -EKEYREJECTED);
}

/* The same key under another name, and another key under the same name, are other keys. */
static void key_of_another_name_or_of_the_same_name_is_refused(void **state)
{
    static const uint8_t other_seed[SIGN_SEED_BYTES] = {9};
    _cleanup_buffer_ struct buffer note = {0};
    struct keys keys = vector_keys();
    struct checkpoint checkpoint = example(5), read;
    struct verify_key renamed = keys.device.public;
    struct sign_key impostor;

    sign_key_from_seed(keys.device.public.name, other_seed, &impostor);
    renamed.name[0] ^= 1;
    assert_int_equal(checkpoint_sign(&checkpoint, &keys.device, &note), 0);
    assert_int_equal(checkpoint_verify(buffer_bytes(&note), &renamed, &read), -EKEYREJECTED);
    assert_int_equal(checkpoint_verify(buffer_bytes(&note), &impostor.public, &read), -EKEYREJECTED);
    assert_int_equal(checkpoint_verify(buffer_bytes(&note), &keys.device.public, &read), 0);
}

/* C2SP signed-note: signatures of unknown keys are passed over, and at least 16 are to be taken. */
static void unknown_signatures_are_passed_over(void **state)
{
    _cleanup_buffer_ struct buffer note = {0}, receipt = {0};
    struct keys keys = vector_keys();
    struct checkpoint checkpoint = example(5), read;
    uint64_t time_s;

    assert_int_equal(checkpoint_sign(&checkpoint, &keys.device, &note), 0);
    for (int i = 0; i < 14; i++)
        buffer_printf(
            &note, "\xe2\x80\x94 other.example/%d %s\n", i, i % 2 ? "AAAAAAA=" : "AAAAAAAAAAAAAAAA");
    assert_int_equal(buffer_finish(&note), 0);
    assert_int_equal(receipt_cosign(buffer_bytes(&note), &keys.server, 7, &receipt), 0);
    assert_int_equal(
        receipt_verify(buffer_bytes(&receipt), &keys.device.public, &keys.server.public, &read, &time_s), 0);
    assert_int_equal(time_s, 7);
}

static void known_key_with_a_signature_of_another_length_is_refused(void **state)
{
    _cleanup_buffer_ struct buffer note = {0};
    struct keys keys = vector_keys();
    struct checkpoint checkpoint = example(5), read;
    uint8_t key_id[NOTE_KEY_ID_BYTES + 1] = {0};
    char base64[16];

    assert_int_equal(checkpoint_sign(&checkpoint, &keys.device, &note), 0);
    note.len -= strlen(strstr(buffer_text(&note), "\n\n")) - 2;
    note_key_id(&keys.device.public, SIGNATURE_ED25519, key_id);
    sodium_bin2base64(base64, sizeof(base64), key_id, sizeof(key_id), sodium_base64_VARIANT_ORIGINAL);
    buffer_printf(&note, "\xe2\x80\x94 %s %s\n", keys.device.public.name, base64);
    assert_int_equal(checkpoint_parse(buffer_bytes(&note), &read), 0);
    assert_int_equal(checkpoint_verify(buffer_bytes(&note), &keys.device.public, &read), -EKEYREJECTED);
}

#define SIGNATURE_LINE "\xe2\x80\x94 n AAAAAAA=\n"
#define ROOT "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="

static void notes_of_a_wrong_form_are_refused(void **state)
{
    static const char *const wrong[] = {
        "", "\n", "\n\n", "o\n0\n" ROOT "\n",                   /* no signature at all */
        "o\n0\n" ROOT "\n\n",                                   /* a blank line, then nothing */
        "o\n0\n" ROOT "\n" SIGNATURE_LINE,                      /* no blank line */
        "o\n0\n" ROOT "\n\n\n" SIGNATURE_LINE,                  /* the text has an empty line */
        "\n0\n" ROOT "\n\n" SIGNATURE_LINE,                     /* empty origin */
        "o\n\n" ROOT "\n\n" SIGNATURE_LINE,                     /* empty size */
        "o\n00\n" ROOT "\n\n" SIGNATURE_LINE,                   /* leading zero */
        "o\n01\n" ROOT "\n\n" SIGNATURE_LINE,                   /* leading zero */
        "o\n-1\n" ROOT "\n\n" SIGNATURE_LINE,                   /* sign */
        "o\n+1\n" ROOT "\n\n" SIGNATURE_LINE,                   /* sign */
        "o\n1 \n" ROOT "\n\n" SIGNATURE_LINE,                   /* blank */
        "o\n0x1\n" ROOT "\n\n" SIGNATURE_LINE,                  /* no decimal */
        "o\n1099511627777\n" ROOT "\n\n" SIGNATURE_LINE,        /* beyond any log */
        "o\n18446744073709551617\n" ROOT "\n\n" SIGNATURE_LINE, /* wraps to 1 */
        "o\n0\n\n\n" SIGNATURE_LINE,                            /* no root */
        "o\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuF==\n\n" SIGNATURE_LINE, /* 31 bytes */
        "o\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFUA\n\n" SIGNATURE_LINE, /* 33 bytes */
        "o\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU\n\n" SIGNATURE_LINE,  /* padding is missing */
        "o\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFV=\n\n" SIGNATURE_LINE, /* bits behind the end */
        "o\n0\n47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU=\n\n" SIGNATURE_LINE, /* the other alphabet */
        "o\n0\n" ROOT "\nextension\n\n" SIGNATURE_LINE,                          /* a line of nobody's */
        "o\n0\n" ROOT "\n\n- n AAAAAAA=\n",                                      /* a hyphen for the dash */
        "o\n0\n" ROOT "\n\n\xe2\x80\x94n AAAAAAA=\n",                            /* no space behind it */
        "o\n0\n" ROOT "\n\n\xe2\x80\x94  AAAAAAA=\n",                            /* no name */
        "o\n0\n" ROOT "\n\n\xe2\x80\x94 n+m AAAAAAA=\n",                         /* plus in the name */
        "o\n0\n" ROOT "\n\n\xe2\x80\x94 n\xc2\xa0m AAAAAAA=\n",                  /* wide space in the name */
        "o\n0\n" ROOT "\n\n\xe2\x80\x94 n AAAAAA==\n",  /* a key id and nothing more */
        "o\n0\n" ROOT "\n\n\xe2\x80\x94 n \n",          /* nothing */
        "o\n0\n" ROOT "\n\n\xe2\x80\x94 n AAAA AAA=\n", /* a blank inside */
        "o\n0\n" ROOT "\n\n\xe2\x80\x94 n AAAAAAA=",    /* no newline at the end */
        "o\n0\n" ROOT "\n\n" SIGNATURE_LINE "x\n",      /* something behind it */
        "o\n0\n" ROOT "\n\n" SIGNATURE_LINE "\n",       /* an empty line behind it */
        "o\r\n0\n" ROOT "\n\n" SIGNATURE_LINE,          /* control character */
        "o\t\n0\n" ROOT "\n\n" SIGNATURE_LINE,          /* control character */
        "\xff\n0\n" ROOT "\n\n" SIGNATURE_LINE,         /* not UTF-8 */
    };
    static const uint8_t seed[SIGN_SEED_BYTES] = {1};
    struct checkpoint read = {.size = 77};
    struct sign_key key;

    sign_key_from_seed("n", seed, &key);
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        _cleanup_buffer_ struct buffer out = {0};

        if (checkpoint_parse(bytes_of_text(wrong[i]), &read) != -EBADMSG)
            fail_msg("taken: %s", wrong[i]);
        assert_int_equal(checkpoint_verify(bytes_of_text(wrong[i]), &key.public, &read), -EBADMSG);
        assert_int_equal(receipt_cosign(bytes_of_text(wrong[i]), &key, 1, &out), -EBADMSG);
        assert_int_equal(out.len, 0);
    }
    assert_int_equal(read.size, 77);
    assert_int_equal(checkpoint_parse(bytes_of("o\n0\n" ROOT "\n\n\0", 52), &read), -EBADMSG);
    assert_int_equal(checkpoint_parse(bytes_of_text("o\n0\n" ROOT "\n\n" SIGNATURE_LINE), &read), 0);
    assert_int_equal(
        checkpoint_parse(bytes_of_text("o\n1099511627776\n" ROOT "\n\n" SIGNATURE_LINE), &read), 0);
    assert_true(read.size == LOG_SIZE_MAX);
}

static void origin_and_note_are_refused_from_the_first_byte_over_the_limit(void **state)
{
    static const uint8_t seed[SIGN_SEED_BYTES] = {1};
    _cleanup_buffer_ struct buffer note = {0}, out = {0};
    char origin[ORIGIN_BYTES_MAX + 1] = {0};
    struct checkpoint read;
    struct sign_key key;
    size_t len;

    for (len = ORIGIN_BYTES_MAX - 1; len <= ORIGIN_BYTES_MAX; len++) {
        memset(origin, 'o', len);
        buffer_clear(&note);
        buffer_printf(&note, "%s\n0\n" ROOT "\n\n" SIGNATURE_LINE, origin);
        assert_int_equal(checkpoint_parse(buffer_bytes(&note), &read), len < ORIGIN_BYTES_MAX ? 0 : -EBADMSG);
    }

    buffer_clear(&note);
    buffer_put_text(&note, "o\n0\n" ROOT "\n\n");
    while (note.len + 2 * strlen(SIGNATURE_LINE) <= NOTE_TEXT_BYTES_MAX)
        buffer_put_text(&note, SIGNATURE_LINE);
    buffer_put_text(&note, "\xe2\x80\x94 ");
    while (note.len < NOTE_TEXT_BYTES_MAX - strlen(" AAAAAAA=\n"))
        buffer_put_text(&note, "n");
    buffer_put_text(&note, " AAAAAAA=\n");
    assert_int_equal(note.len, NOTE_TEXT_BYTES_MAX);
    assert_int_equal(checkpoint_parse(buffer_bytes(&note), &read), 0);

    sign_key_from_seed("n", seed, &key);
    assert_int_equal(receipt_cosign(buffer_bytes(&note), &key, 1, &out), -EMSGSIZE);
    assert_int_equal(out.len, 0);
    buffer_put_text(&note, SIGNATURE_LINE);
    assert_int_equal(checkpoint_parse(buffer_bytes(&note), &read), -EBADMSG);
}

/* Both are appended: what stands before them in the buffer stays, and is not part of them. */
static void notes_are_appended_to_what_the_buffer_holds(void **state)
{
    _cleanup_buffer_ struct buffer buffer = {0};
    struct keys keys = vector_keys();
    struct checkpoint checkpoint = example(5), read;

    buffer_put_text(&buffer, "before");
    assert_int_equal(checkpoint_sign(&checkpoint, &keys.device, &buffer), 0);
    assert_memory_equal(buffer.data, "before", 6);
    assert_int_equal(
        checkpoint_verify(bytes_of(buffer.data + 6, buffer.len - 6), &keys.device.public, &read), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checkpoints_and_receipts_equal_the_independent_ones),
        cmocka_unit_test(published_note_holds),
        cmocka_unit_test(receipt_with_any_bit_changed_is_refused),
        cmocka_unit_test(receipt_cut_anywhere_is_refused),
        cmocka_unit_test(checkpoint_without_cosignature_is_no_receipt),
        cmocka_unit_test(key_of_another_name_or_of_the_same_name_is_refused),
        cmocka_unit_test(unknown_signatures_are_passed_over),
        cmocka_unit_test(known_key_with_a_signature_of_another_length_is_refused),
        cmocka_unit_test(notes_of_a_wrong_form_are_refused),
        cmocka_unit_test(origin_and_note_are_refused_from_the_first_byte_over_the_limit),
        cmocka_unit_test(notes_are_appended_to_what_the_buffer_holds),
    };

    return sodium_init() < 0 ? 1 : cmocka_run_group_tests_name("proto checkpoints", tests, NULL, NULL);
}
