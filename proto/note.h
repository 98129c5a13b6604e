/* SPDX-License-Identifier: Apache-2.0 */
/*
 * C2SP signed notes: a text, a blank line, signature lines. proto/README.md, "Checkpoints and receipts". Used
 * by keys.c and checkpoint.c only; knows nothing of what the text says or of how it is signed. Pure.
 */
#pragma once

#include "proto/checkpoint.h"

#define NOTE_KEY_ID_BYTES 4u

enum signature_type { SIGNATURE_ED25519 = 1, SIGNATURE_COSIGNATURE = 4 };

struct note {
    struct bytes text;       /* with its last newline, without the blank line: what is signed */
    struct bytes signatures; /* one or more signature lines */
};

/* True for what may be a key's name: UTF-8, not empty, no space of Unicode, no control character, no plus. */
bool note_name_is_valid(struct bytes name);
/* SHA-256(name || 0x0A || type || public key), its first four bytes. */
void note_key_id(const struct verify_key *key, enum signature_type type, uint8_t ret[NOTE_KEY_ID_BYTES]);
/* Splits a note of at most NOTE_TEXT_BYTES_MAX bytes and checks the form of every line. -EBADMSG. */
int note_parse(struct bytes bytes, struct note *ret);
/* The signature of a key: what follows the key id, which must be `len` bytes. -EKEYREJECTED when there is no
 * such line, or when it has another length. */
int note_find_signature(const struct note *note, const struct verify_key *key, enum signature_type type,
    uint8_t *ret, size_t len);
/* Appends a signature line. */
void note_put_signature(struct buffer *note, const struct verify_key *key, enum signature_type type,
    const uint8_t *signature, size_t len);
