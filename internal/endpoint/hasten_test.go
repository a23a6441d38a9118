package endpoint

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/login"
)

// When the cloud has restarted nobody is known there until the next keep-alive. The
// identities of an adapter share a socket: the first one that notices is enough.
func TestTheIdentitiesOfAnAdapterRegisterTogetherAfterTheCloudRestarted(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.node("a", 100, w.net.Host(pubB))
		m := w.machine(w.net.Host(pubA))
		var passive []*device
		for i := range 20 {
			d := w.newDevice(fmt.Sprintf("cam%d", i), byte(i+1))
			d.machine = m
			d.local = must(m.endpoint.Add(Identity{
				Key: d.key, Grant: d.grant(24 * time.Hour),
				Renew: func(context.Context) (*login.Grant, error) { return d.grant(24 * time.Hour), nil },
			}))
			passive = append(passive, d)
			time.Sleep(time.Second) // their keep-alives are spread
		}
		w.devices = append(w.devices, passive[0])
		w.stopNMS()
		w.startNMS()
		restarted := time.Now()
		time.Sleep(9 * time.Second) // the first keep-alive comes after 2 to 8 s, the last one would after 21 to 28 s
		for _, d := range passive {
			if _, err := a.connect(d); err != nil {
				t.Errorf("%s after %v: %v", d.fqdn, time.Since(restarted), err)
			}
		}
		if took := time.Since(restarted); took > 20*time.Second {
			t.Errorf("all are reached after %v", took)
		}
	})
}

// Registrations are brought forward at most once in a while, whatever the NMS says.
func TestRegistrationsAreHastenedSeldom(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.node("a", 1, w.net.Host(pubA))
		result := make(chan time.Time, 2)
		for range 2 {
			_ = a.endpoint.post(func(now time.Time) { a.endpoint.hasten(now); result <- a.endpoint.hastened })
			time.Sleep(hastenEvery / 2)
		}
		if first, second := <-result, <-result; !first.Equal(second) {
			t.Errorf("hastened twice within %v", hastenEvery)
		}
	})
}
