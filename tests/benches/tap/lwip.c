/* The servers on lwIP's raw API, with Debian's build of the library (windows of 64 KiB).
 * Its tapif writes past its buffers, and its thread costs a switch for each frame, so the frames are read and written here.
 * Usage: lwip echo|discard|flood ADDRESS NETMASK. It makes the interface bench0, and ends with the process that started it. */
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <lwip/netif.h>
#include <lwip/tcp.h>
#include <lwip/tcpip.h>
#include <lwip/etharp.h>
#include <netif/ethernet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <unistd.h>

static char mode;
static char pattern[65536];

/* What is received and not yet sent back. */
struct client {
    struct pbuf *waiting;
    int closing;
};

static void end(struct tcp_pcb *pcb, struct client *client) {
    tcp_arg(pcb, NULL);
    tcp_recv(pcb, NULL);
    tcp_sent(pcb, NULL);
    tcp_err(pcb, NULL);
    free(client);
    tcp_close(pcb);
}

static void send_back(struct tcp_pcb *pcb, struct client *client) {
    while (client->waiting != NULL) {
        struct pbuf *first = client->waiting;
        if (tcp_sndbuf(pcb) < first->len || tcp_write(pcb, first->payload, first->len, TCP_WRITE_FLAG_COPY) != ERR_OK)
            break;
        client->waiting = first->next;
        if (first->next != NULL)
            pbuf_ref(first->next);
        tcp_recved(pcb, first->len);
        pbuf_free(first);
    }
    tcp_output(pcb);
    if (client->closing && client->waiting == NULL)
        end(pcb, client);
}

static void flood(struct tcp_pcb *pcb) {
    while (tcp_sndbuf(pcb) > 0) {
        u16_t len = LWIP_MIN(tcp_sndbuf(pcb), sizeof pattern - 1);
        if (tcp_write(pcb, pattern, len, 0) != ERR_OK)
            break;
    }
    tcp_output(pcb);
}

static err_t received(void *arg, struct tcp_pcb *pcb, struct pbuf *p, err_t err) {
    struct client *client = arg;
    (void)err;
    if (p == NULL) {
        client->closing = 1;
        if (client->waiting == NULL)
            end(pcb, client);
    } else if (mode == 'e') {
        if (client->waiting == NULL)
            client->waiting = p;
        else
            pbuf_cat(client->waiting, p);
        send_back(pcb, client);
    } else {
        tcp_recved(pcb, p->tot_len);
        pbuf_free(p);
    }
    return ERR_OK;
}

static err_t sent(void *arg, struct tcp_pcb *pcb, u16_t len) {
    (void)len;
    if (mode == 'f')
        flood(pcb);
    else
        send_back(pcb, arg);
    return ERR_OK;
}

static void failed(void *arg, err_t err) {
    struct client *client = arg;
    (void)err;
    if (client->waiting != NULL)
        pbuf_free(client->waiting);
    free(client);
}

static err_t accepted(void *arg, struct tcp_pcb *pcb, err_t err) {
    struct client *client = calloc(1, sizeof *client);
    (void)arg;
    if (err != ERR_OK || pcb == NULL || client == NULL)
        return ERR_VAL;
    tcp_arg(pcb, client);
    tcp_nagle_disable(pcb);
    tcp_recv(pcb, received);
    tcp_sent(pcb, sent);
    tcp_err(pcb, failed);
    if (mode == 'f')
        flood(pcb);
    return ERR_OK;
}

static int fd;

static err_t write_frame(struct netif *netif, struct pbuf *p) {
    char frame[1514];
    (void)netif;
    pbuf_copy_partial(p, frame, sizeof frame, 0);
    /* What does not go out is sent again. */
    (void)!write(fd, frame, p->tot_len);
    return ERR_OK;
}

static err_t start(struct netif *netif) {
    static const u8_t address[6] = {2, 's', 'o', 'c', 'k', 2};
    struct ifreq request = {.ifr_name = "bench0", .ifr_flags = IFF_TAP | IFF_NO_PI};
    fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
    if (fd < 0 || ioctl(fd, TUNSETIFF, &request) < 0)
        return ERR_IF;
    memcpy(netif->hwaddr, address, sizeof address);
    netif->hwaddr_len = sizeof address;
    netif->mtu = 1500;
    netif->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET;
    netif->name[0] = 't';
    netif->name[1] = 'p';
    netif->output = etharp_output;
    netif->linkoutput = write_frame;
    return ERR_OK;
}

/* All that has come, 64 at a time: the other thread has the timers. */
static void read_frames(struct netif *netif) {
    static char frame[2048];
    ssize_t len = 1;
    LOCK_TCPIP_CORE();
    for (int i = 0; i < 64 && (len = read(fd, frame, sizeof frame)) > 0; i++) {
        struct pbuf *p = pbuf_alloc(PBUF_RAW, len, PBUF_RAM);
        if (p == NULL)
            break;
        pbuf_take(p, frame, len);
        if (ethernet_input(p, netif) != ERR_OK)
            pbuf_free(p);
    }
    UNLOCK_TCPIP_CORE();
    if (len <= 0) {
        struct pollfd wait = {fd, POLLIN, 0};
        poll(&wait, 1, -1);
    }
}

int main(int argc, char **argv) {
    memset(pattern, 'x', sizeof pattern);
    static struct netif netif;
    ip4_addr_t address, mask, gateway;
    if (argc != 4 || !ip4addr_aton(argv[2], &address) || !ip4addr_aton(argv[3], &mask))
        return 2;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    mode = argv[1][0];
    ip4_addr_set_zero(&gateway);
    tcpip_init(NULL, NULL);
    LOCK_TCPIP_CORE();
    if (netif_add(&netif, &address, &mask, &gateway, NULL, start, ethernet_input) == NULL)
        return 1;
    netif_set_default(&netif);
    netif_set_up(&netif);
    netif_set_link_up(&netif);
    struct tcp_pcb *pcb = tcp_new_ip_type(IPADDR_TYPE_V4);
    if (pcb == NULL || tcp_bind(pcb, IP_ANY_TYPE, 7) != ERR_OK)
        return 1;
    pcb = tcp_listen_with_backlog(pcb, 128);
    tcp_accept(pcb, accepted);
    UNLOCK_TCPIP_CORE();
    puts("ready");
    fflush(stdout);
    for (;;)
        read_frames(&netif);
}
