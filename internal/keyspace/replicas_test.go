package keyspace

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
)

func TestKeysOfReplicasAreParsed(t *testing.T) {
	if service, name, ok := ParseLive(Live("nms", "nms-1")); !ok || service != "nms" || name != "nms-1" {
		t.Errorf("%q %q %v", service, name, ok)
	}
	if service, name, ok := ParseDrain(Drain("as", "as-1")); !ok || service != "as" || name != "as-1" {
		t.Errorf("%q %q %v", service, name, ok)
	}
	if host, ok := ParseSpeaker(Speaker("h1")); !ok || host != "h1" {
		t.Errorf("%q %v", host, ok)
	}
	for _, key := range []string{"", LivePrefix, LivePrefix + "nms", LivePrefix + "nms/", LivePrefix + "nms/a/b", DrainPrefix, SpeakersPrefix, SpeakersPrefix + "a/b", Root + "live/nms/a"} {
		_, _, live := ParseLive(key)
		_, _, drain := ParseDrain(key)
		if _, speaker := ParseSpeaker(key); live || drain || speaker {
			t.Errorf("%q was parsed", key)
		}
	}
}

// Who follows the desired state must not be woken by the loads of replicas.
func TestRecordsOfReplicasAreApartFromTheDesiredState(t *testing.T) {
	for _, key := range []string{Live("nms", "a"), Drain("nms", "a"), Speaker("h")} {
		if strings.HasPrefix(key, Root) || strings.HasPrefix(key, LogRoot) || !strings.HasPrefix(key, ReplicasRoot) {
			t.Errorf("%s", key)
		}
	}
}

func TestAReplicaRecordLeavesOutWhatIsNotKnown(t *testing.T) {
	b, err := json.Marshal(ReplicaRecord{Name: "a", Service: "as", State: ReplicaReady})
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{"peer", "pin", "addresses", "advertised"} {
		if strings.Contains(string(b), field) {
			t.Errorf("%s is in %s", field, b)
		}
	}
	full := ReplicaRecord{Name: "a", Service: "as", State: ReplicaReady, Peer: netip.MustParseAddrPort("[2001:db8::1]:7444")}
	b, err = json.Marshal(full)
	if err != nil {
		t.Fatal(err)
	}
	var got ReplicaRecord
	if err := json.Unmarshal(b, &got); err != nil || got.Peer != full.Peer {
		t.Errorf("%+v %v", got, err)
	}
}
