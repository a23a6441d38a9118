package keyspace

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestParsersReverseNames(t *testing.T) {
	if p, n, ok := ParseResource(Resource(Nodes, "viewer")); !ok || p != Nodes || n != "viewer" {
		t.Errorf("resource: %q %q %v", p, n, ok)
	}
	if p, n, ok := ParseEnrolled(Enrolled(Adapters, "a1")); !ok || p != Adapters || n != "a1" {
		t.Errorf("enrolled: %q %q %v", p, n, ok)
	}
	if p, id, ok := ParseKey(Key(PurposeRelay, 0x0a1b2c3d)); !ok || p != PurposeRelay || id != 0x0a1b2c3d {
		t.Errorf("key: %q %x %v", p, id, ok)
	}
	for _, text := range []string{"10.64.0.2", "fd00::2"} {
		want := netip.MustParseAddr(text)
		n, a, ok := ParseIPAMAddress(IPAMAddress("home", want))
		if !ok || n != "home" || a != want {
			t.Errorf("ipam %s: %q %v %v", text, n, a, ok)
		}
	}
}

func TestParsersRefuseForeignKeys(t *testing.T) {
	for _, key := range []string{
		"", "/", Root, ResourcesPrefix, ResourcesPrefix + "nodes", ResourcesPrefix + "nodes/",
		ResourcesPrefix + "nodes/a/b", KeysPrefix + "ticket/1", KeysPrefix + "ticket/zzzzzzzz",
		Root + "ipam/n/4/fd00::1", Root + "ipam/n/6/::ffff:10.0.0.1", Root + "ipam/n/4", Root + "ipam//4/10.0.0.1",
	} {
		if _, _, ok := ParseResource(key); ok {
			t.Errorf("ParseResource accepted %q", key)
		}
		if _, _, ok := ParseKey(key); ok {
			t.Errorf("ParseKey accepted %q", key)
		}
		if _, _, ok := ParseIPAMAddress(key); ok {
			t.Errorf("ParseIPAMAddress accepted %q", key)
		}
	}
}

func TestUniqueNamesFoldCaseAndTrailingDot(t *testing.T) {
	if UniqueFQDN("n", "Cam1.Example.") != UniqueFQDN("n", "cam1.example") {
		t.Error("the same name has two keys")
	}
	if UniqueMAC("n", "AA:BB:CC:00:11:22") != UniqueMAC("n", "aa:bb:cc:00:11:22") {
		t.Error("the same MAC address has two keys")
	}
}

func TestKeyRecordRoundTripAndRedaction(t *testing.T) {
	r, err := NewKeyRecord(bytes.NewReader(bytes.Repeat([]byte{0x5a}, 36)), time.Unix(1000, 0))
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode[KeyRecord](Encode(r))
	if err != nil || got.Secret != r.Secret || got.ID != 0x5a5a5a5a || !got.Created.Equal(r.Created) {
		t.Fatalf("round trip: %v %v", got, err)
	}
	for _, s := range []string{fmt.Sprint(r), fmt.Sprintf("%+v %#v", r, r), r.Secret.LogValue().String()} {
		if strings.Contains(s, "90 90") || strings.Contains(s, "0x5a, 0x5a") || strings.Contains(s, "WlpaWl") {
			t.Errorf("the secret is visible in %q", s)
		}
	}
}

func TestNewKeyRecordFailsWithoutRandomness(t *testing.T) {
	if _, err := NewKeyRecord(bytes.NewReader(make([]byte, 35)), time.Now()); err == nil {
		t.Fatal("35 random bytes were enough")
	}
}

func TestDecodeRefuses(t *testing.T) {
	cases := map[string]func() error{
		"empty":            func() error { _, err := Decode[KeyRecord](nil); return err },
		"zero secret":      func() error { _, err := Decode[KeyRecord](Encode(KeyRecord{ID: 1})); return err },
		"no secret":        func() error { _, err := Decode[KeyRecord]([]byte(`{"id":1}`)); return err },
		"short secret":     func() error { _, err := Decode[KeyRecord]([]byte(`{"secret":"AAAA"}`)); return err },
		"short device key": func() error { _, err := Decode[EnrolledRecord]([]byte(`{"static":"AAAA"}`)); return err },
		"array":            func() error { _, err := Decode[Owner]([]byte(`[]`)); return err },
	}
	for name, f := range cases {
		if err := f(); !errors.Is(err, ErrRecord) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOrderSealsWithTheYoungestActiveKey(t *testing.T) {
	at := func(id uint32, active int64) KeyRecord { return KeyRecord{ID: id, ActiveFrom: time.Unix(active, 0)} }
	cases := []struct {
		name string
		now  int64
		in   []KeyRecord
		want []uint32
	}{
		{"none", 5, nil, nil},
		{"one", 5, []KeyRecord{at(1, 1)}, []uint32{1}},
		{"one not yet active", 0, []KeyRecord{at(1, 1)}, []uint32{1}},
		{"youngest", 5, []KeyRecord{at(1, 1), at(2, 2)}, []uint32{2, 1}},
		{"rotation pending", 5, []KeyRecord{at(1, 1), at(3, 9), at(2, 2)}, []uint32{2, 3, 1}},
		{"same instant", 5, []KeyRecord{at(1, 1), at(2, 1)}, []uint32{2, 1}},
		{"none active", 0, []KeyRecord{at(1, 1), at(2, 2)}, []uint32{1, 2}},
	}
	for _, c := range cases {
		var got []uint32
		for _, r := range Order(c.in, time.Unix(c.now, 0)) {
			got = append(got, r.ID)
		}
		if fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(Encode(KeyRecord{ID: 1, Secret: Secret{1}}))
	f.Add([]byte(`{"static":"AA=="}`))
	f.Fuzz(func(_ *testing.T, b []byte) {
		_, _ = Decode[KeyRecord](b)
		_, _ = Decode[EnrolledRecord](b)
		_, _ = Decode[ConsumedRecord](b)
	})
}
