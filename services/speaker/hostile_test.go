package speaker_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/keyspace"
)

// message puts the header of BGP (RFC 4271, section 4.1) before a body.
func message(kind byte, body []byte) []byte {
	m := append([]byte(strings.Repeat("\xff", 16)), 0, 0, kind)
	m = append(m, body...)
	binary.BigEndian.PutUint16(m[16:], uint16(len(m)))
	return m
}

// update announces prefixes (each a /24 in 10.0.0.0/8) with good attributes.
func update(first, count int) []byte {
	attributes := []byte{0x40, 1, 1, 0, 0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xe7, 0x40, 3, 4, 198, 51, 100, 1}
	body := binary.BigEndian.AppendUint16([]byte{0, 0}, uint16(len(attributes)))
	body = append(body, attributes...)
	for i := first; i < first+count; i++ {
		body = append(body, 24, 10, byte(i>>8), byte(i))
	}
	return message(2, body)
}

// hostile is a router that establishes sessions and then says what it likes.
func hostile(t *testing.T, n *net1, attack func(net.Conn)) {
	t.Helper()
	listener, err := n.lab.Host("evil").ListenTCP("198.51.100.1:179")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	open := append([]byte{4, 0xfd, 0xe7, 0, 9, 192, 0, 2, 9, 14}, 2, 12, 1, 4, 0, 1, 0, 1, 65, 4, 0, 0, 0xfd, 0xe7)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(io.Discard, conn) }()
			_, _ = conn.Write(message(1, open))
			_, _ = conn.Write(message(4, nil))
			time.Sleep(200 * time.Millisecond) // the session is to be established
			attack(conn)
			_ = conn.Close()
		}
	}()
}

// It runs by itself: how much a flood piles up depends on how fast the speaker may work it off.
func TestAHostileRouterHarmsNoOther(t *testing.T) {
	for name, attack := range map[string]func(*rand.Rand, net.Conn){
		"malformed updates": func(random *rand.Rand, conn net.Conn) {
			for range 40 {
				m := update(0, 4)
				for range 1 + random.IntN(4) {
					m[19+random.IntN(len(m)-19)] = byte(random.Uint32())
				}
				_, _ = conn.Write(m)
			}
			time.Sleep(100 * time.Millisecond)
		},
		"malformed headers": func(random *rand.Rand, conn net.Conn) {
			m := update(0, 4)
			m[random.IntN(19)] = byte(random.Uint32())
			_, _ = conn.Write(m)
			time.Sleep(100 * time.Millisecond)
		},
		"garbage": func(random *rand.Rand, conn net.Conn) {
			garbage := make([]byte, 4096)
			for i := range garbage {
				garbage[i] = byte(random.Uint32())
			}
			_, _ = conn.Write(garbage)
		},
		"a flood of updates": func(_ *rand.Rand, conn net.Conn) {
			for i, end := 0, time.Now().Add(3*time.Second); time.Now().Before(end); i++ {
				if _, err := conn.Write(update(i%500, 1)); err != nil {
					return
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			random := rand.New(rand.NewPCG(1, 2))
			n := newNet(t, "evil", "good")
			n.startFRR("good", frrConfig(64998, strings.ReplaceAll(frrFour, "198.51.100.2", "198.51.100.6")))
			n.put(service("nms"), advertisement("all", nil), peer("evil", routerIP4, 64999, nil), peer("good", "198.51.100.5", 64998, nil))
			n.start()
			m := n.register("nms-1", keyspace.ReplicaReady)
			n.awaitRoutes("good", 15*time.Second, vip4)
			n.awaitState("good", "Established", 2*time.Second)
			since := n.session("good").Since
			hostile(t, n, func(conn net.Conn) { attack(random, conn) })
			for end := time.Now().Add(5 * time.Second); time.Now().Before(end); {
				m.say(keyspace.ReplicaLeaving)
				n.awaitRoutes("good", 3*time.Second)
				m.say(keyspace.ReplicaReady)
				n.awaitRoutes("good", 3*time.Second, vip4)
			}
			n.sameSession("good", since)
			if s := n.session("evil"); s.Since.IsZero() || s.State == "" {
				t.Errorf("session with the hostile router: %+v", s)
			}
			if !n.speaker.Running() {
				t.Error("the speaker has ended")
			}
			rss, err := n.speaker.ResidentBytes()
			if err != nil || rss > 256<<20 {
				t.Errorf("%d MB resident, %v", rss>>20, err)
			}
			t.Logf("%d MB resident; %+v", rss>>20, n.session("evil"))
		})
	}
}

func TestTooManyPrefixesEndTheSession(t *testing.T) {
	t.Parallel()
	n := newNet(t, "evil")
	n.put(service("nms"), advertisement("all", nil), peer("evil", routerIP4, 64999, func(s *api.BGPPeerSpec) { s.MaxReceivedPrefixes = 20 }))
	done := make(chan struct{})
	hostile(t, n, func(conn net.Conn) {
		_, _ = conn.Write(update(0, 20))
		time.Sleep(2 * time.Second)
		_, _ = conn.Write(update(100, 1))
		<-done
	})
	t.Cleanup(func() { close(done) })
	n.start()
	n.await("as many as allowed", 10*time.Second, func() (string, bool) {
		s := n.session("evil")
		return fmt.Sprintf("%+v", s), s.State == "Established" && s.Received == 20
	})
	n.await("one more", 10*time.Second, func() (string, bool) {
		s := n.session("evil")
		return fmt.Sprintf("%+v", s), s.State == "Idle" && strings.Contains(s.Reason, "maxReceivedPrefixes")
	})
}
