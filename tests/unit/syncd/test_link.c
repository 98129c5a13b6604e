/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The link watch against a real kernel, in a network namespace of the test's own with a TUN link that comes
 * and goes. Skipped where no namespace or no TUN may be made.
 */
#include "tests/unit/unit.h"

#include "syncd/link.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define SKIPPED 77
#define TURN_US UINT64_C(100000)
#define TURNS_MAX 300
#define FLAPS 2000u

static int tun = -1, control = -1;

struct scene {
    sd_event *event;
    struct link_watch *watch;
    size_t told;
    bool up;
};

static void set_address(void)
{
    struct ifreq request = {.ifr_name = "lane0"};
    struct sockaddr_in *address = (struct sockaddr_in *)(void *)&request.ifr_addr;

    address->sin_family = AF_INET;
    assert_int_equal(inet_pton(AF_INET, "192.0.2.1", &address->sin_addr), 1);
    assert_int_equal(ioctl(control, SIOCSIFADDR, &request), 0);
}

static void set_up(bool up)
{
    struct ifreq request = {.ifr_name = "lane0"};

    request.ifr_flags = up ? IFF_UP | IFF_RUNNING : 0;
    assert_int_equal(ioctl(control, SIOCSIFFLAGS, &request), 0);
}

static void on_changed(void *context, bool up)
{
    struct scene *scene = context;

    scene->told++;
    scene->up = up;
}

static void begin(struct scene *scene)
{
    *scene = (struct scene){0};
    assert_true(sd_event_new(&scene->event) >= 0);
    assert_int_equal(link_watch_new(scene->event, on_changed, scene, &scene->watch), 0);
}

static void end(struct scene *scene)
{
    link_watch_free(scene->watch);
    sd_event_unref(scene->event);
}

static void run_until_told(struct scene *scene, size_t told)
{
    for (size_t i = 0; scene->told < told && i < TURNS_MAX; i++)
        assert_true(sd_event_run(scene->event, TURN_US) >= 0);
    assert_true(scene->told >= told);
}

static void a_link_that_comes_and_goes_is_told(void **state)
{
    struct scene scene;

    set_up(false);
    begin(&scene);
    assert_false(link_watch_is_up(scene.watch));
    set_up(true);
    run_until_told(&scene, 1);
    assert_true(scene.up);
    set_up(false);
    run_until_told(&scene, 2);
    assert_false(scene.up);
    end(&scene);
}

/* Nobody reads meanwhile: the socket's buffer overruns (ENOBUFS), and what came last may be what was lost. */
static void thousands_of_flaps_while_nobody_reads_leave_it_with_the_right_state(void **state)
{
    for (size_t last_up = 0; last_up < 2; last_up++) {
        struct scene scene;

        set_up(last_up == 0);
        begin(&scene);
        for (size_t i = 0; i < FLAPS; i++)
            set_up(i % 2 == 0);
        set_up(last_up == 1);
        run_until_told(&scene, 1);
        assert_int_equal(scene.up, last_up == 1);
        assert_int_equal(link_watch_is_up(scene.watch), last_up == 1);
        /* And it hears what comes after. */
        set_up(last_up == 0);
        run_until_told(&scene, scene.told + 1);
        assert_int_equal(scene.up, last_up == 0);
        end(&scene);
    }
}

static bool make_namespace(void)
{
    struct ifreq request = {.ifr_name = "lane0", .ifr_flags = IFF_TUN | IFF_NO_PI};

    if (unshare(CLONE_NEWNET) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
        return false;
    tun = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (tun < 0 || control < 0 || ioctl(tun, TUNSETIFF, &request) < 0)
        return false;
    set_up(true);
    set_address();
    return true;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_link_that_comes_and_goes_is_told),
        cmocka_unit_test(thousands_of_flaps_while_nobody_reads_leave_it_with_the_right_state),
    };

    if (!make_namespace()) {
        printf("1..0 # SKIP no network namespace with a TUN link may be made here\n");
        return SKIPPED;
    }
    return cmocka_run_group_tests_name("link", tests, NULL, NULL);
}
