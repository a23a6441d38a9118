package replica

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/keyspace"
)

// world is what a state should show: everything, by name, of which a snapshot is made at once.
type world struct {
	subjects map[Ref]*Subject
	policies map[string]*api.AccessPolicy
	enrolled map[Ref]Enrolled
}

func (w *world) snapshot(t *rapid.T) *Snapshot {
	c := Contents{Enrolled: w.enrolled}
	for _, subject := range w.subjects {
		c.Subjects = append(c.Subjects, subject)
	}
	for _, p := range w.policies {
		c.Policies = append(c.Policies, p)
	}
	s, errs := NewSnapshot(c)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	return s
}

func pick[T any](t *rapid.T, what string, from ...T) T {
	return from[rapid.IntRange(0, len(from)-1).Draw(t, what)]
}

func drawnSubject(t *rapid.T, ref Ref) *Subject {
	subject := &Subject{
		Ref: ref, UID: pick(t, "uid", "1", "2", "3") + ref.Name, Network: pick(t, "network", "home", "work"),
		Disabled: rapid.Bool().Draw(t, "disabled"), Labels: map[string]string{"role": pick(t, "label", "x", "y")},
	}
	if ref.Plural != keyspace.Adapters { // two devices with one name or address now and then
		subject.FQDN = pick(t, "fqdn", "", "a.example", "b.example", "c.example")
		subject.IPv4 = pick(t, "ipv4", netip.Addr{}, netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"))
		subject.IPv6 = pick(t, "ipv6", netip.Addr{}, netip.MustParseAddr("fd00::1"), netip.MustParseAddr("fd00::2"))
	}
	if ref.Plural == keyspace.GeneralNodes {
		subject.Adapter = pick(t, "adapter", "a", "b")
	}
	return subject
}

// change does the same to the state and to the world.
func change(t *rapid.T, s *state, w *world) {
	ref := Ref{
		pick(t, "plural", keyspace.Nodes, keyspace.Adapters, keyspace.GeneralNodes, keyspace.GeneralNodes),
		pick(t, "name", "a", "b", "c"),
	}
	switch rapid.IntRange(0, 5).Draw(t, "what") {
	case 0, 1:
		w.subjects[ref] = drawnSubject(t, ref)
		s.setSubject(ref, w.subjects[ref])
	case 2:
		delete(w.subjects, ref)
		s.setSubject(ref, nil)
	case 3:
		e := Enrolled{UID: pick(t, "uid", "1", "2", "3") + ref.Name, Public: identity.DevicePublic{Static: [32]byte{pick[byte](t, "key", 1, 2)}}}
		w.enrolled[ref] = e
		s.setEnrolled(ref, &enrolment{Ref: ref, Enrolled: e})
	case 4:
		delete(w.enrolled, ref)
		s.setEnrolled(ref, nil)
	case 5:
		p := &api.AccessPolicy{Metadata: api.ObjectMeta{Name: ref.Name}, Spec: api.AccessPolicySpec{
			Network: pick(t, "network", "home", "work"), Rules: []api.PolicyRule{{Protocol: pick[api.Protocol](t, "protocol", "tcp", "udp")}},
		}}
		if rapid.Bool().Draw(t, "remove") {
			p = nil
			delete(w.policies, ref.Name)
		} else {
			w.policies[ref.Name] = p
		}
		s.setPolicy(ref.Name, p)
	}
}

// show writes everything that a snapshot answers about the world.
func show(s *Snapshot) string {
	text := fmt.Sprintf("version %x home %x work %x\n", s.Version(), s.PolicyVersion("home"), s.PolicyVersion("work"))
	for _, plural := range []string{keyspace.Nodes, keyspace.Adapters, keyspace.GeneralNodes} {
		for _, name := range []string{"a", "b", "c"} {
			subject := s.Subject(Ref{plural, name})
			text += fmt.Sprintf("%s/%s %+v", plural, name, subject)
			if subject != nil {
				key, enrolled := s.Enrolled(subject)
				enabled, _ := s.Enabled(subject)
				text += fmt.Sprint(key.Static[0], enrolled, enabled)
			}
			for _, uid := range []string{"1", "2", "3"} {
				text += refOf(s.SubjectByUID(uid + name))
			}
			text += "\n"
		}
	}
	for _, network := range []string{"home", "work"} {
		for _, name := range []string{"", "a.example", "b.example", "c.example"} {
			text += refOf(s.SubjectByFQDN(network, name))
		}
		for _, addr := range []string{"10.0.0.1", "10.0.0.2", "fd00::1", "fd00::2"} {
			text += refOf(s.SubjectByAddr(network, netip.MustParseAddr(addr)))
		}
		subject := s.Subject(Ref{keyspace.Nodes, "a"})
		if subject != nil {
			as := subject.PolicySubject(0)
			as.Network = network
			rules, _ := s.Policies().Evaluate(as, as)
			text += fmt.Sprintf("%+v\n", rules)
		}
	}
	return text
}

func refOf(s *Subject) string {
	if s == nil {
		return " -"
	}
	return " " + s.Plural + "/" + s.Name
}

func TestWhatIsKeptUpEqualsWhatIsMadeAnew(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newState()
		w := &world{make(map[Ref]*Subject), make(map[string]*api.AccessPolicy), make(map[Ref]Enrolled)}
		var past *Snapshot
		shown := ""
		for range rapid.IntRange(1, 12).Draw(t, "publications") {
			for range rapid.IntRange(0, 6).Draw(t, "changes") {
				change(t, s, w)
			}
			if past != nil && show(past) != shown {
				t.Fatalf("a snapshot changed from\n%s\nto\n%s", shown, show(past))
			}
			got, errs := s.snapshot(time.Unix(0, 0))
			if len(errs) > 0 {
				t.Fatal(errs)
			}
			past, shown = got, show(got)
			if want := show(w.snapshot(t)); shown != want {
				t.Fatalf("kept up:\n%s\nmade anew:\n%s", shown, want)
			}
		}
	})
}

func TestPublishingCostsWhatHasChanged(t *testing.T) {
	const rounds = 200
	cost := func(n int) uint64 {
		s := filled(t, n)
		_, _ = s.snapshot(time.Time{})
		item := device(n / 2)[1]
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range rounds {
			if err := s.put(item.Key, item.Value); err != nil {
				t.Fatal(err)
			}
			_, _ = s.snapshot(time.Time{})
		}
		runtime.ReadMemStats(&after)
		return (after.TotalAlloc - before.TotalAlloc) / rounds
	}
	// A trie of a hundred times the size is 1.3 nodes deeper, and the nodes on the way are fuller.
	if few, many := cost(300), cost(30_000); many > 2*few+4096 {
		t.Errorf("a change of one of 30,000 devices allocates %d bytes, of one of 300 %d", many, few)
	}
}

func TestADeviceTakesLittleMemory(t *testing.T) {
	const n = 20_000
	before := heap()
	s := filled(t, n)
	used := (heap() - before) / n
	if used > 900 {
		t.Errorf("%d bytes a device", used)
	}
	t.Logf("%d bytes a device", used)
	// A list after an outage shares with the one before what did not change.
	again := newState()
	again.previous = s
	for kind := range 2 {
		for i := range n {
			item := device(i)[kind]
			if err := again.put(item.Key, item.Value); err != nil {
				t.Fatal(err)
			}
		}
	}
	again.previous = nil
	ref := Ref{keyspace.Nodes, "device-0000007"}
	if old, _ := s.byRef.get(ref); old == nil {
		t.Error("the device is missing")
	} else if now, _ := again.byRef.get(ref); now != old {
		t.Error("an unchanged device is another one after the list")
	}
	if both := (heap() - before) / n; both > 1100 {
		t.Errorf("%d bytes a device while there are two lists", both)
	}
}

func TestTextsOfDevicesAreShared(t *testing.T) {
	var x interner
	a, b := x.set(map[string]string{"a": "1", "b": "2"}), x.set(map[string]string{"b": "2", "a": "1"})
	a["c"] = "3"
	if b["c"] != "3" {
		t.Error("equal labels are not shared")
	}
	for i := range maxInterned + 10 {
		x.text(fmt.Sprint(i))
		x.set(map[string]string{"a": fmt.Sprint(i)})
	}
	if len(x.texts) > maxInterned || len(x.labels) > maxInterned {
		t.Errorf("%d texts and %d labels are kept", len(x.texts), len(x.labels))
	}
}
