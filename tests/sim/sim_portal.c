/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Captive portals, as states of a handheld's network. While one is there it answers in the centre's place, to
 * everything or to a part of it, or it lets every TLS handshake fail; then it moves on or is gone. Nothing of
 * what it says may count, whatever status it has.
 */
#include "tests/sim/sim.h"

/* What portals say, and what people who mean well have put in their place. */
struct page {
    unsigned status;
    const char *body, *location;
    bool goes_along; /* says what a tus server would: that it has taken the chunk */
};

static const struct page pages[] = {
    {200, "<html><body>Welcome to the guest network</body></html>", NULL, false},
    {200, "", NULL, false},
    {200, "{\"result\":\"ok\"}", NULL, false},
    {201, "", "/v1/blobs/0000000000000000000000000000000000000000000000000000000000000000", false},
    {204, "", NULL, false},
    {204, "", NULL, true},
    {302, "<html><body>Moved</body></html>", "http://portal.example/login", false},
    {307, "", "http://portal.example/login", false},
    {511, "<html><body>Log in</body></html>", NULL, false},
};

static bool is_upload(const char *path)
{
    return strncmp(path, "/v1/blobs", 9) == 0;
}

bool portal_meets(struct sim *sim, const struct handheld *handheld, const char *path, enum sim_fate *ret)
{
    switch (handheld->portal) {
    case PORTAL_NONE:
        return false;
    case PORTAL_EVERYTHING:
        sim_cover(sim, COVER_PORTAL_EVERYTHING);
        break;
    case PORTAL_TEXT:
        if (is_upload(path))
            return false;
        sim_cover(sim, COVER_PORTAL_TEXT);
        break;
    case PORTAL_PHOTOS:
        if (!is_upload(path))
            return false;
        sim_cover(sim, COVER_PORTAL_PHOTOS);
        break;
    case PORTAL_TLS:
        sim_cover(sim, COVER_PORTAL_TLS);
        *ret = FATE_TLS;
        return true;
    }
    *ret = FATE_CAPTIVE;
    return true;
}

void portal_answer(struct sim *sim, struct sim_request *request)
{
    const struct page *page = &pages[sim_below(sim, ARRAY_LEN(pages))];
    struct sim_reply *reply = &request->reply;

    reply->status = page->status;
    buffer_put_bytes(&reply->body, bytes_of_text(page->body));
    if (page->location)
        snprintf(reply->location, sizeof(reply->location), "%s", page->location);
    if (page->goes_along)
        snprintf(reply->upload_offset, sizeof(reply->upload_offset), "%llu",
            strtoull(request->upload_offset, NULL, 10) + (unsigned long long)request->body.len);
    if (page->status >= 300 && page->status < 400)
        sim_cover(sim, COVER_PORTAL_REDIRECT);
}

/* ---- as it comes and goes ---- */

static const char *portal_name(enum portal portal)
{
    switch (portal) {
    case PORTAL_NONE:
        return "none";
    case PORTAL_EVERYTHING:
        return "answers everything";
    case PORTAL_TEXT:
        return "answers the text";
    case PORTAL_PHOTOS:
        return "answers the photos";
    case PORTAL_TLS:
        return "lets TLS fail";
    }
    return "";
}

static void enter(struct sim *sim, struct handheld *handheld, enum portal portal);

static enum portal next_of(enum portal portal)
{
    return portal == PORTAL_TEXT ? PORTAL_PHOTOS : PORTAL_NONE;
}

static void run_step(struct sim *sim, void *object, uint64_t number)
{
    struct handheld *handheld = object;

    if (handheld->portal_number == number)
        enter(sim, handheld, next_of(handheld->portal));
}

static void enter(struct sim *sim, struct handheld *handheld, enum portal portal)
{
    handheld->portal = portal;
    sim_trace(sim, "handheld %u: portal: %s", handheld->number, portal_name(portal));
    if (portal != PORTAL_NONE)
        sim_at(sim, sim_between(sim, MINUTE_MS, HOUR_MS), run_step, handheld, ++handheld->portal_number);
}

void portal_begin(struct sim *sim, struct handheld *handheld)
{
    static const enum portal first[] = {PORTAL_EVERYTHING, PORTAL_TEXT, PORTAL_PHOTOS, PORTAL_TLS};

    enter(sim, handheld, first[sim_below(sim, ARRAY_LEN(first))]);
}

void portal_end(struct handheld *handheld)
{
    handheld->portal = PORTAL_NONE;
    handheld->portal_number++;
}
