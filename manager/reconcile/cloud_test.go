package reconcile

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/access"
	"github.com/cyphonic/cyphonic/manager/store"
)

func peer(name string, hosts ...string) *api.BGPPeer {
	p := &api.BGPPeer{Spec: api.BGPPeerSpec{PeerAddress: "192.0.2.1", PeerASN: 64512, LocalASN: 64513, Hosts: hosts}}
	p.Metadata.Name, p.Metadata.Generation = name, 4
	return p
}

func session(name, state, reason string) keyspace.BGPSession {
	return keyspace.BGPSession{Peer: name, Address: netip.MustParseAddr("192.0.2.1"), State: state, Since: time.Unix(1000, 0), Advertised: 2, Received: 1, BFD: "Up", Reason: reason}
}

func TestEstablished(t *testing.T) {
	up := keyspace.SpeakerRecord{Host: "a", Sessions: []keyspace.BGPSession{session("r", "Established", "")}}
	down := keyspace.SpeakerRecord{Host: "b", Sessions: []keyspace.BGPSession{session("r", "Active", "connection refused")}}
	quiet := keyspace.SpeakerRecord{Host: "c"}
	suspended := peer("r")
	suspended.Spec.Suspended = true
	rows := map[string]struct {
		peer            *api.BGPPeer
		speakers        []keyspace.SpeakerRecord
		status          api.ConditionStatus
		reason, message string
	}{
		"all":                     {peer("r"), []keyspace.SpeakerRecord{up}, "True", "Established", "1 of 1 sessions are established"},
		"one is not":              {peer("r"), []keyspace.SpeakerRecord{up, down}, "False", "NotEstablished", "1 of 2 sessions are established; b: Active, connection refused"},
		"its host only":           {peer("r", "a"), []keyspace.SpeakerRecord{up, down}, "True", "Established", "1 of 1 sessions are established"},
		"a host without speaker":  {peer("r", "a", "z"), []keyspace.SpeakerRecord{up}, "False", "NotEstablished", "1 of 2 sessions are established; z: no speaker"},
		"a speaker without peer":  {peer("r"), []keyspace.SpeakerRecord{up, quiet}, "False", "NotEstablished", "1 of 2 sessions are established; c: the speaker has not taken it up yet"},
		"nobody speaks":           {peer("r"), nil, "False", "NoSpeaker", "no host has a speaker: start cyphonicd speaker on the hosts of the replicas"},
		"suspended":               {suspended, []keyspace.SpeakerRecord{up}, "False", "Suspended", "there shall be no session for now"},
		"sessions of another one": {peer("other"), []keyspace.SpeakerRecord{up}, "False", "NotEstablished", "0 of 1 sessions are established; a: the speaker has not taken it up yet"},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			r := report{speakers: row.speakers}
			c := r.established(row.peer, r.peerStatus(row.peer).Sessions)
			if c.Status != row.status || c.Reason != row.reason || c.Message != row.message || c.ObservedGeneration != 4 {
				t.Errorf("%+v", c)
			}
		})
	}
}

func TestSessionsOfAPeer(t *testing.T) {
	strange := session("r", "Confused", strings.Repeat("ä", 200))
	strange.BFD = "Sideways"
	r := report{speakers: []keyspace.SpeakerRecord{{Host: "a", Sessions: []keyspace.BGPSession{session("x", "Idle", ""), session("r", "Established", "")}}, {Host: "b", Sessions: []keyspace.BGPSession{strange}}}}
	got := r.peerStatus(peer("r")).Sessions
	want := api.BGPSession{Host: "a", State: "Established", Since: time.Unix(1000, 0).UTC(), Advertised: 2, Received: 1, Bfd: "Up"}
	if len(got) != 2 {
		t.Fatalf("%+v", got)
	}
	if difference := cmp.Diff(want, got[0]); difference != "" {
		t.Error(difference)
	}
	if s := got[1]; s.State != "Idle" || s.Bfd != "" || len(s.Reason) > api.MaxReason || !strings.HasSuffix(s.Reason, "…") {
		t.Errorf("what cannot be stored: %+v", s)
	}
}

func TestAnnounced(t *testing.T) {
	as, nms := &api.CloudService{Spec: api.CloudServiceSpec{Service: "as", Ipv4: "203.0.113.1", Ipv6: "2001:db8::1"}}, &api.CloudService{Spec: api.CloudServiceSpec{Service: "nms", Ipv4: "203.0.113.1"}}
	as.Metadata.Name, nms.Metadata.Name = "as", "nms"
	v4, v6 := netip.MustParsePrefix("203.0.113.1/32"), netip.MustParsePrefix("2001:db8::1/128")
	speakers := []keyspace.SpeakerRecord{
		{Host: "a", Prefixes: []keyspace.SpokenPrefix{{Prefix: v4, Announced: true}, {Prefix: v6, Announced: true}}},
		{Host: "b", Prefixes: []keyspace.SpokenPrefix{{Prefix: v4, Announced: true}, {Prefix: v6, Reason: "no local replica is ready"}}},
	}
	r := report{peers: []*api.BGPPeer{peer("r")}, services: []*api.CloudService{as, nms}, speakers: speakers, ready: map[string]int64{"as": 2}}
	advertisement := func(services []string, hosts ...string) *api.BGPAdvertisement {
		return &api.BGPAdvertisement{Spec: api.BGPAdvertisementSpec{Services: services, Hosts: hosts}}
	}
	rows := map[string]struct {
		r               report
		a               *api.BGPAdvertisement
		prefixes        string
		status          api.ConditionStatus
		reason, message string
	}{
		"everything":     {r, advertisement(nil), "203.0.113.1/32 a b, 2001:db8::1/128 a", "True", "Announced", "2 of 2 addresses are announced"},
		"one service":    {r, advertisement([]string{"nms"}), "203.0.113.1/32 a b", "True", "Announced", "1 of 1 addresses are announced"},
		"one host":       {r, advertisement(nil, "b"), "203.0.113.1/32 b", "False", "NotAnnounced", "1 of 2 addresses are announced; 2001:db8::1/128: b says: no local replica is ready"},
		"no host":        {r, advertisement([]string{"nms"}, "z"), "", "False", "NotAnnounced", "0 of 1 addresses are announced; 203.0.113.1/32: no speaker knows of a replica"},
		"no such thing":  {r, advertisement([]string{"trs"}), "", "False", "NoService", "there is no CloudService to announce"},
		"nobody to hear": {report{services: r.services, speakers: speakers}, advertisement([]string{"nms"}), "203.0.113.1/32 a b", "False", "NoPeer", "there is no BGPPeer to announce anything to"},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			status := row.r.advertisementStatus(row.a)
			var texts []string
			for _, p := range status.Prefixes {
				texts = append(texts, strings.Join(append([]string{p.Prefix}, p.Hosts...), " "))
			}
			c := row.r.announced(row.a, status.Prefixes)
			if got := strings.Join(texts, ", "); got != row.prefixes || c.Status != row.status || c.Reason != row.reason || c.Message != row.message {
				t.Errorf("%s; %+v", got, c)
			}
		})
	}
	if got := r.serviceStatus(as); got.ReadyReplicas != 2 || strings.Join(got.AnnouncedBy, " ") != "a b" {
		t.Errorf("%+v", got)
	}
	if got := r.serviceStatus(nms); got.ReadyReplicas != 0 {
		t.Errorf("%+v", got)
	}
}

func TestMessagesAreShort(t *testing.T) {
	var things []string
	for range 10 {
		things = append(things, strings.Repeat("wörter ", 100))
	}
	if got := some(things); len(got) > api.MaxMessage/2 {
		t.Errorf("%d bytes", len(got))
	}
	if got := some([]string{"a", "b", "c", "d", "e"}); got != "a; b; c; and 2 more" {
		t.Error(got)
	}
}

// The leader writes what is reported, and nothing while nothing changes.
func TestWhatIsReportedIsWritten(t *testing.T) {
	w := newWorld(t)
	for _, o := range []api.Object{
		&api.CloudService{Metadata: api.ObjectMeta{Name: "nms"}, Spec: api.CloudServiceSpec{Service: "nms", Ipv4: "203.0.113.1"}},
		peer("r"),
		&api.BGPAdvertisement{Metadata: api.ObjectMeta{Name: "all"}, Spec: api.BGPAdvertisementSpec{Services: []string{"nms"}, Peers: []string{"r"}}},
	} {
		o.Meta().Generation = 0
		w.create(o)
	}
	put := func(key string, record any) {
		t.Helper()
		value, err := json.Marshal(record)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.store.Commit(t.Context(), store.Transaction{Writes: []store.Write{store.Put(key, value)}}); err != nil {
			t.Fatal(err)
		}
	}
	put(keyspace.Speaker("a"), keyspace.SpeakerRecord{Host: "a", Sessions: []keyspace.BGPSession{session("r", "Established", "")}, Prefixes: []keyspace.SpokenPrefix{{Prefix: netip.MustParsePrefix("203.0.113.1/32"), Announced: true}}})
	put(keyspace.Live("nms", "nms-1"), keyspace.ReplicaRecord{Name: "nms-1", Service: "nms", State: keyspace.ReplicaReady})
	put(keyspace.Live("nms", "nms-2"), keyspace.ReplicaRecord{Name: "nms-2", Service: "nms", State: keyspace.ReplicaLeaving})
	c := &cloud{view: w.cache, store: w.store, writer: w.api.Client(access.ForSystem("cloud")), log: quiet(), now: time.Now}
	pass := func() (revision int64) {
		t.Helper()
		err := w.cache.Fresh(t.Context())
		if err == nil {
			err = c.pass(t.Context())
		}
		if err == nil {
			revision, err = w.store.Revision(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		return revision
	}
	first := pass()
	if second := pass(); second != first {
		t.Errorf("a pass without news wrote: revision %d, then %d", first, second)
	}
	p, _ := w.get("BGPPeer", "r")
	a, _ := w.get("BGPAdvertisement", "all")
	s, _ := w.get("CloudService", "nms")
	if status := p.(*api.BGPPeer).Status; len(status.Sessions) != 1 || len(status.Conditions) != 1 || status.Conditions[0].Status != "True" || status.Conditions[0].LastTransitionTime.IsZero() {
		t.Errorf("peer: %+v", status)
	}
	if status := a.(*api.BGPAdvertisement).Status; len(status.Prefixes) != 1 || len(status.Conditions) != 1 || status.Conditions[0].Status != "True" {
		t.Errorf("advertisement: %+v", status)
	}
	if status := s.(*api.CloudService).Status; status.ReadyReplicas != 1 || len(status.AnnouncedBy) != 1 {
		t.Errorf("service: %+v", status)
	}
	put(keyspace.Speaker("a"), keyspace.SpeakerRecord{Host: "a"})
	pass()
	if p, _ = w.get("BGPPeer", "r"); p.(*api.BGPPeer).Status.Conditions[0].Reason != "NotEstablished" {
		t.Errorf("peer: %+v", p.(*api.BGPPeer).Status)
	}
	if s, _ = w.get("CloudService", "nms"); len(s.(*api.CloudService).Status.AnnouncedBy) != 0 {
		t.Errorf("service: %+v", s.(*api.CloudService).Status)
	}
}
