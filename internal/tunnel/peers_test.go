package tunnel

import (
	"bytes"
	"errors"
	"testing"

	"github.com/cyphonic/cyphonic/internal/identity"
)

func TestWrongPeersAreRefused(t *testing.T) {
	a, foreign := newAuthority(t), newAuthority(t)
	viewer, camera, other := a.node(t, "viewer"), a.node(t, "cam1"), a.node(t, "other")
	with := func(c Config, certificate []byte) Config { c.Certificate = certificate; return c }
	forged := bytes.Clone(viewer.Certificate)
	forged[len(forged)-1] ^= 1
	mixed := camera.Key.Public()
	mixed.Signing = other.Key.Public().Signing

	t.Run("as seen by the responder", func(t *testing.T) {
		for _, row := range []struct {
			name     string
			from, to Config
			remote   identity.DevicePublic
			want     error
		}{
			{"message for another static key", viewer, camera, other.Key.Public(), ErrMAC},
			{"certificate of another key", with(viewer, other.Certificate), camera, camera.Key.Public(), ErrPeer},
			{"certificate of the responder", with(viewer, camera.Certificate), camera, camera.Key.Public(), ErrPeer},
			{"certificate of a foreign authority", with(viewer, foreign.certify(t, "viewer", viewer.Key.Public())), camera, camera.Key.Public(), identity.ErrIssuer},
			{"forged certificate", with(viewer, forged), camera, camera.Key.Public(), identity.ErrSignature},
			{"no certificate", with(viewer, []byte("no")), camera, camera.Key.Public(), identity.ErrMalformed},
			{"the node itself", camera, camera, camera.Key.Public(), ErrPeer},
		} {
			t.Run(row.name, func(t *testing.T) {
				i, err := NewInitiator(row.from, row.remote, responderTag, initiatorIndex)
				if err != nil {
					t.Fatal(err)
				}
				r, response, err := NewResponder(row.to, responderIndex, i.Message())
				if !errors.Is(err, row.want) || r != nil || response != nil {
					t.Errorf("got %v, want %v", err, row.want)
				}
			})
		}
	})
	t.Run("as seen by the initiator", func(t *testing.T) {
		for _, row := range []struct {
			name   string
			to     Config
			remote identity.DevicePublic
			want   error
		}{
			{"certificate of another key", with(camera, other.Certificate), camera.Key.Public(), ErrPeer},
			{"certificate of a foreign authority", with(camera, foreign.certify(t, "cam1", camera.Key.Public())), camera.Key.Public(), identity.ErrIssuer},
			{"another signing key than the direction said", camera, mixed, ErrPeer},
		} {
			t.Run(row.name, func(t *testing.T) {
				i, err := NewInitiator(viewer, row.remote, responderTag, initiatorIndex)
				if err != nil {
					t.Fatal(err)
				}
				_, response := mustRespond(t, row.to, i.Message())
				if _, err := i.Response(response); !errors.Is(err, row.want) {
					t.Errorf("got %v, want %v", err, row.want)
				}
				if i.response != nil || i.keys != (transportKeys{}) {
					t.Error("the refused response has changed the state")
				}
			})
		}
	})
}

// TestManInTheMiddleGetsNoSession: who knows all public values, and has a certificate of its own, cannot stand
// in for the responder.
func TestManInTheMiddleGetsNoSession(t *testing.T) {
	a := newAuthority(t)
	viewer, camera, thief := a.node(t, "viewer"), a.node(t, "cam1"), a.node(t, "thief")
	i := mustInitiate(t, viewer, camera)
	init := bytes.Clone(i.Message())
	setMAC1(init, thief.Key.Public().Static)
	if _, _, err := NewResponder(thief, responderIndex, init); !errors.Is(err, ErrAuth) {
		t.Errorf("the thief opens a message for the camera: %v", err)
	}
	own := mustInitiate(t, viewer, thief)
	_, response := mustRespond(t, thief, own.Message())
	if _, err := i.Response(response); !errors.Is(err, ErrAuth) {
		t.Errorf("the thief's response to another message is taken: %v", err)
	}
}
