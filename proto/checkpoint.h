/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checkpoints and receipts: C2SP tlog-checkpoint in a C2SP signed-note, with a C2SP cosignature/v1.
 * proto/README.md, "Checkpoints". Pure: keys, times and seeds are arguments.
 *
 *   gridpatrol.example/default/6fa1...             origin: <authority>/<tenant>/<log id>
 *   200                                            size
 *   base64(root)
 *
 *   — <device key name> base64(key id | signature)           by the handheld: this is the checkpoint
 *   — <server key name> base64(key id | time | signature)    added by the server: now it is a receipt
 */
#pragma once

#include "proto/ids.h"
#include "proto/limits.h"

#define SIGN_PUBLIC_BYTES 32u
#define SIGN_SECRET_BYTES 64u
#define SIGN_SEED_BYTES 32u
#define SIGNATURE_BYTES 64u
#define KEY_NAME_MAX 192u
#define VERIFIER_KEY_TEXT_MAX 320u

struct verify_key {
    char name[KEY_NAME_MAX + 1];
    uint8_t public_key[SIGN_PUBLIC_BYTES];
};

struct sign_key {
    struct verify_key public;
    uint8_t secret[SIGN_SECRET_BYTES];
};

/* Ed25519 key pair of a seed (RFC 8032). */
void sign_key_from_seed(const char *name, const uint8_t seed[SIGN_SEED_BYTES], struct sign_key *ret);
/* First 8 bytes of SHA-256(public key): the key id in envelopes. */
void key_id_of(const uint8_t public_key[SIGN_PUBLIC_BYTES], uint8_t ret[8]);
/* The C2SP verifier key text "name+hash+base64(type|key)", type 1 (Ed25519) or 4 (cosignature/v1). */
void verify_key_format(const struct verify_key *key, bool cosigner, char ret[VERIFIER_KEY_TEXT_MAX]);
/* Reads either type; the text must be nothing but the key, and its hash must fit. 0 or -EINVAL. */
int verify_key_parse(const char *text, struct verify_key *ret);

/* "<authority>/<tenant>/<log>", "<authority>/<tenant>/device/<device>", "<authority>/receipt". -EINVAL when
 * too long or when a part is empty or has a slash or a character that a note's key name may not have. */
int origin_format(
    const char *authority, const char *tenant, const struct uuid *log, char ret[ORIGIN_BYTES_MAX]);
int device_key_name(
    const char *authority, const char *tenant, const struct uuid *device, char ret[KEY_NAME_MAX + 1]);
int receipt_key_name(const char *authority, char ret[KEY_NAME_MAX + 1]);

struct checkpoint {
    char origin[ORIGIN_BYTES_MAX];
    uint64_t size;
    struct sha256 root;
};

/* Appends the handheld's signed note. -ENOMEM. */
int checkpoint_sign(
    const struct checkpoint *checkpoint, const struct sign_key *device, struct buffer *ret_note);
/* Parses a note and checks the signature of `device`. 0; -EBADMSG malformed; -EKEYREJECTED no valid signature
 * of that key. Unknown signatures are passed over, as the standard says. */
int checkpoint_verify(struct bytes note, const struct verify_key *device, struct checkpoint *ret);
/* Parses only: for showing and indexing, never for trust. */
int checkpoint_parse(struct bytes note, struct checkpoint *ret);
/* Appends to `ret_note` the note and the server's cosignature made at `time_s` (Unix seconds). It does not
 * check the handheld's signature: verify first. -EBADMSG malformed, -EMSGSIZE too long with it, -ENOMEM. */
int receipt_cosign(
    struct bytes note, const struct sign_key *server, uint64_t time_s, struct buffer *ret_note);
/* Checks both signatures of a receipt. Errors as checkpoint_verify. */
int receipt_verify(struct bytes note, const struct verify_key *device, const struct verify_key *server,
    struct checkpoint *ret, uint64_t *ret_time_s);
