/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Upload tokens, sealed so that only their device can use them. See proto/README.md, "Upload tokens".
 *
 * Every answer carries one, and sealing costs as much as two signatures. A handheld that sends one batch
 * behind the other is given the token of the batch before again, for some minutes, while most of its time is
 * left. What is kept is a table of fixed size in which a device has one place, shared with others.
 */
#include "server/service_internal.h"

#include <assert.h>

#define GIVEN_AGAIN_S 300u

_Static_assert(GIVEN_AGAIN_S < UPLOAD_TOKEN_S / 2, "whoever is given a token has time to use it");

static struct sealed_token *place_of(struct tokens *tokens, const struct uuid *device)
{
    /* Device ids are random: their first bytes are as good as a hash. */
    return &tokens->places[((size_t)device->b[0] << 8 | device->b[1]) % TOKENS_KEPT];
}

/* A token made less than some minutes ago: not by a clock that was ahead, nor for a key that is not the
 * device's any more. */
static bool is_still_given(
    const struct sealed_token *token, const struct stored_device *device, uint64_t now_s)
{
    return token->len > 0 && uuid_equal(&token->device, &device->id) &&
           memcmp(token->public_key, device->public_key, SIGN_PUBLIC_BYTES) == 0 &&
           token->expires_s <= now_s + UPLOAD_TOKEN_S &&
           token->expires_s >= now_s + UPLOAD_TOKEN_S - GIVEN_AGAIN_S;
}

static int seal(
    struct service *service, const struct stored_device *device, uint64_t now_s, struct sealed_token *ret)
{
    const struct upload_token token = {
        .device = device->id, .expires_s = now_s + UPLOAD_TOKEN_S, .quota_bytes = UPLOAD_QUOTA_BYTES};
    _cleanup_buffer_ struct buffer sealed = {0};
    char text[UPLOAD_TOKEN_TEXT_MAX];
    uint8_t seed[32];
    int r;

    upload_token_make(&token, service->upload_secret, text);
    service->world->verbs->random(service->world->context, seed, sizeof(seed));
    r = seal_to_device(bytes_of_text(text), device->public_key, seed, &sealed);
    if (r < 0)
        return r;
    *ret = (struct sealed_token){.device = device->id, .expires_s = token.expires_s, .len = sealed.len};
    memcpy(ret->public_key, device->public_key, SIGN_PUBLIC_BYTES);
    assert(sealed.len <= sizeof(ret->bytes));
    memcpy(ret->bytes, sealed.data, sealed.len);
    return 0;
}

int token_for(
    struct service *service, const struct stored_device *device, struct buffer *ret, uint32_t *ret_good_s)
{
    struct tokens *tokens = &service->tokens;
    struct sealed_token token, *place = place_of(tokens, &device->id);
    uint64_t now_s = service_now_s(service);
    int r = 0;

    pthread_mutex_lock(&tokens->mutex);
    token = *place;
    pthread_mutex_unlock(&tokens->mutex);
    if (!is_still_given(&token, device, now_s)) {
        r = seal(service, device, now_s, &token);
        if (r < 0)
            return r;
        pthread_mutex_lock(&tokens->mutex);
        *place = token;
        pthread_mutex_unlock(&tokens->mutex);
    }
    buffer_put(ret, token.bytes, token.len);
    *ret_good_s = (uint32_t)(token.expires_s - now_s);
    return buffer_finish(ret);
}

void tokens_open(struct service *service)
{
    pthread_mutex_init(&service->tokens.mutex, NULL);
}

void tokens_done(struct service *service)
{
    pthread_mutex_destroy(&service->tokens.mutex);
}
