package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/wire"
)

func drawPolicy(t *rapid.T, name string) *api.AccessPolicy {
	p := &api.AccessPolicy{Metadata: api.ObjectMeta{Name: name}}
	p.Spec.Network = rapid.SampledFrom([]string{"home", "work"}).Draw(t, "network")
	p.Spec.MinimumAssurance = rapid.SampledFrom([]string{"", "mac", "dot1x", "key"}).Draw(t, "assurance")
	for range rapid.IntRange(0, 2).Draw(t, "from") {
		p.Spec.From = append(p.Spec.From, drawSelector(t))
	}
	for range rapid.IntRange(0, 2).Draw(t, "to") {
		p.Spec.To = append(p.Spec.To, drawSelector(t))
	}
	for range rapid.IntRange(0, 3).Draw(t, "rules") {
		r := api.PolicyRule{Protocol: api.Protocol(rapid.SampledFrom([]string{"any", "tcp", "udp", "icmp"}).Draw(t, "protocol"))}
		if r.Protocol == "tcp" || r.Protocol == "udp" {
			for range rapid.IntRange(0, 20).Draw(t, "ports") {
				low := rapid.IntRange(1, 120).Draw(t, "low")
				r.Ports = append(r.Ports, fmt.Sprintf("%d-%d", low, low+rapid.IntRange(0, 3).Draw(t, "length")))
			}
		}
		p.Spec.Rules = append(p.Spec.Rules, r)
	}
	return p
}

func drawSubject(t *rapid.T, id ID) Subject {
	s := Subject{Kind: id.Kind, Name: id.Name, Network: rapid.SampledFrom([]string{"home", "work", "bare"}).Draw(t, "network"), Labels: map[string]string{}}
	for _, key := range []string{"a", "b", "c"} {
		if value := rapid.SampledFrom([]string{"", "1", "2"}).Draw(t, key); value != "" {
			s.Labels[key] = value
		}
	}
	s.Assurance = identity.Assurance(rapid.IntRange(1, 4).Draw(t, "assurance"))
	return s
}

// flowsByPair is what Difference must agree with: every pair by itself.
func flowsByPair(policies []*api.AccessPolicy, devices map[ID]Subject) map[Pair][]wire.Rule {
	set, _ := Compile(policies)
	flows := map[Pair][]wire.Rule{}
	for _, a := range devices {
		for _, b := range devices {
			if a.ID() == b.ID() {
				continue
			}
			rules, _ := set.Evaluate(a, b)
			rules = slices.DeleteFunc(rules, func(r wire.Rule) bool { return r.Inbound })
			if len(rules) > 0 {
				flows[Pair{a.ID(), b.ID()}] = rules
			}
		}
	}
	return flows
}

// bruteForce counts the pairs by what they gain and by what they lose.
func bruteForce(was, is map[Pair][]wire.Rule) (gained, lost map[string]int64) {
	gained, lost = map[string]int64{}, map[string]int64{}
	pairs := maps.Clone(was)
	maps.Copy(pairs, is)
	for pair := range pairs {
		if more := flowsText(subtract(is[pair], was[pair])); more != "" {
			gained[more]++
		}
		if less := flowsText(subtract(was[pair], is[pair])); less != "" {
			lost[less]++
		}
	}
	return gained, lost
}

func flowsText(rules []wire.Rule) string {
	var texts []string
	for _, r := range rules {
		texts = append(texts, flowOf("", r).String())
	}
	return strings.Join(texts, " ")
}

func counted(changes []PairChange) map[string]int64 {
	counts := map[string]int64{}
	for _, change := range changes {
		var texts []string
		for _, flow := range change.Flows {
			texts = append(texts, flow.String())
		}
		counts[strings.Join(texts, " ")] += change.Pairs
	}
	return counts
}

// Whatever the world and the change: the classes count what looking at each pair counts, and every sample is such a pair.
func TestDifferenceIsWhatEachPairByItselfGives(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := func(label string) []int {
			return rapid.SliceOfNDistinct(rapid.IntRange(0, 5), 0, 6, rapid.ID[int]).Draw(t, label)
		}
		world, changes := World{}, Changes{}
		for _, i := range names("policies") {
			p := drawPolicy(t, fmt.Sprint("p", i))
			world.Policies = append(world.Policies, p)
			if rapid.Bool().Draw(t, "stays") {
				changes.Policies = append(changes.Policies, p)
			}
		}
		for _, i := range names("changed policies") {
			name := fmt.Sprint("p", i)
			changes.Policies = slices.DeleteFunc(changes.Policies, func(p *api.AccessPolicy) bool { return p.Metadata.Name == name })
			changes.Policies = append(changes.Policies, drawPolicy(t, name))
		}
		was := map[ID]Subject{}
		for i := range rapid.IntRange(0, 8).Draw(t, "devices") {
			id := ID{[]string{"Node", "GeneralNode"}[i%2], fmt.Sprint("d", i/2)}
			was[id] = drawSubject(t, id)
		}
		is := maps.Clone(was)
		for i := range rapid.IntRange(0, 4).Draw(t, "changed") {
			id := ID{"Node", fmt.Sprint("d", i*2)}
			if rapid.Bool().Draw(t, "gone") {
				changes.Gone = append(changes.Gone, id)
				delete(is, id)
				continue
			}
			is[id] = drawSubject(t, id)
			changes.Devices = append(changes.Devices, is[id])
		}
		lazily := rapid.Bool().Draw(t, "lazily")
		world.Assurance = func(id ID) identity.Assurance { return was[id].Assurance }
		world.Devices = func(yield func(Subject) bool) {
			for _, s := range was {
				if lazily {
					s.Assurance = 0
				}
				if !yield(s) {
					return
				}
			}
		}
		got := Difference(world, changes)
		flowsBefore, flowsAfter := flowsByPair(world.Policies, was), flowsByPair(changes.Policies, is)
		gained, lost := bruteForce(flowsBefore, flowsAfter)
		if diff := cmp.Diff(gained, counted(got.Gained)); diff != "" || got.Truncated || got.Incomplete {
			t.Fatalf("gained (-each pair +classes), truncated %v, incomplete %v:\n%s", got.Truncated, got.Incomplete, diff)
		}
		if diff := cmp.Diff(lost, counted(got.Lost)); diff != "" {
			t.Fatalf("lost (-each pair +classes):\n%s", diff)
		}
		checkSamples(t, got.Gained, flowsBefore, flowsAfter)
		checkSamples(t, got.Lost, flowsAfter, flowsBefore)
	})
}

// checkSamples wants each sample to have in larger what it has not in smaller.
func checkSamples(t *rapid.T, changes []PairChange, smaller, larger map[Pair][]wire.Rule) {
	for _, change := range changes {
		if len(change.Samples) == 0 {
			t.Fatalf("%v has no sample", change)
		}
		for _, pair := range change.Samples {
			got := counted([]PairChange{change})
			if _, ok := got[flowsText(subtract(larger[pair], smaller[pair]))]; !ok {
				t.Fatalf("%v: the flows of %v change by %q", change, pair, flowsText(subtract(larger[pair], smaller[pair])))
			}
		}
	}
}

// bigWorld has n general nodes of 500 sites, a node of each site, and two policies per site.
func bigWorld(n int) World {
	const sites = 500
	w := World{Assurance: func(ID) identity.Assurance { return identity.AssuranceDot1X }}
	for i := range sites {
		site := map[string]string{"site": fmt.Sprint("hall-", i)}
		viewers := []api.AccessPolicy{{Metadata: api.ObjectMeta{Name: fmt.Sprint("view-", i)}}, {Metadata: api.ObjectMeta{Name: fmt.Sprint("print-", i)}}}
		for j := range viewers {
			p := &viewers[j]
			p.Spec.Network = "home"
			p.Spec.From = append(p.Spec.From[:0], policyOf([]api.Selector{{Kinds: []string{"Node"}, MatchLabels: site}}, nil, "", nil).Spec.From...)
			p.Spec.To = append(p.Spec.To[:0], policyOf([]api.Selector{{Kinds: []string{"GeneralNode"}, MatchLabels: site}}, nil, "", nil).Spec.From...)
			p.Spec.Rules = rule("tcp", fmt.Sprint(80+j))
			p.Spec.MinimumAssurance = []string{"mac", "dot1x"}[j]
			w.Policies = append(w.Policies, p)
		}
	}
	labels := make([]map[string]string, sites)
	for i := range labels {
		labels[i] = map[string]string{"site": fmt.Sprint("hall-", i), "role": "camera", "floor": fmt.Sprint(i % 7)}
	}
	w.Devices = func(yield func(Subject) bool) {
		for i := range n {
			if !yield(Subject{Kind: "GeneralNode", Name: fmt.Sprint("cam", i), Network: "home", Labels: labels[i%sites]}) {
				return
			}
		}
		for i := range sites {
			if !yield(Subject{Kind: "Node", Name: fmt.Sprint("viewer", i), Network: "home", Labels: labels[i], Assurance: identity.AssuranceKey}) {
				return
			}
		}
	}
	return w
}

func TestDifferenceOfManyDevices(t *testing.T) {
	w := bigWorld(5000)
	all := policyOf([]api.Selector{{Names: []string{"viewer7"}}}, []api.Selector{{Kinds: []string{"GeneralNode"}}}, "key", rule("tcp", "80"))
	d := Difference(w, Changes{
		Policies: append(slices.Clone(w.Policies[1:]), all),
		Devices:  []Subject{{Kind: "GeneralNode", Name: "cam1", Network: "home", Labels: map[string]string{"site": "hall-2"}, Assurance: identity.AssuranceMAC}},
		Gone:     []ID{{"Node", "viewer3"}},
	})
	// viewer7 gains tcp/80 to all cameras but the ten of its own site, viewer2 gains cam1 with 80 and 81.
	// viewer0 loses 80 to ten cameras, viewer1 80-81 to cam1, viewer3 80-81 to ten.
	gained, lost := counted(d.Gained), counted(d.Lost)
	if diff := cmp.Diff(map[string]int64{"tcp/80": 4990, "tcp/80-81": 1}, gained); diff != "" {
		t.Errorf("gained:\n%s", diff)
	}
	if diff := cmp.Diff(map[string]int64{"tcp/80": 10, "tcp/80-81": 11}, lost); diff != "" {
		t.Errorf("lost:\n%s", diff)
	}
	if d.GainedPairs != 4991 || d.LostPairs != 21 || d.Incomplete || d.Truncated {
		t.Errorf("%d gained, %d lost, %v %v", d.GainedPairs, d.LostPairs, d.Incomplete, d.Truncated)
	}
}

// Devices of a million names that each have a policy of their own would be too many classes: the answer says so and takes bounded time.
func TestDifferenceSaysWhenThereAreTooManyClasses(t *testing.T) {
	var w World
	w.Devices = func(yield func(Subject) bool) {
		for i := range 2048 {
			if !yield(Subject{Kind: "Node", Name: fmt.Sprint("n", i), Network: "home"}) {
				return
			}
		}
	}
	for i := range 2048 {
		w.Policies = append(w.Policies, policyOf([]api.Selector{{Names: []string{fmt.Sprint("n", i)}}}, []api.Selector{{}}, "", rule("tcp", "80")))
		w.Policies[i].Metadata.Name = fmt.Sprint("p", i)
	}
	d := Difference(w, Changes{Policies: []*api.AccessPolicy{policyOf([]api.Selector{{}}, []api.Selector{{}}, "", rule("tcp", "81"))}})
	if !d.Incomplete || d.LostPairs == 0 {
		t.Errorf("incomplete %v, %d lost", d.Incomplete, d.LostPairs)
	}
}

// Labels that make nearly every device a class of its own end in an answer that says that it is not complete, in bounded time and memory.
func BenchmarkDifferenceOfTooManyClasses(b *testing.B) {
	var w World
	for i := range 1000 {
		labels := map[string]string{fmt.Sprint("k", i%10): fmt.Sprint(i / 10 % 10)}
		p := policyOf([]api.Selector{{MatchLabels: labels}}, []api.Selector{{MatchLabels: labels}}, "", rule("tcp", fmt.Sprint(i+1)))
		p.Metadata.Name = fmt.Sprint("p", i)
		w.Policies = append(w.Policies, p)
	}
	w.Devices = func(yield func(Subject) bool) {
		for i := range 1_000_000 {
			labels := make(map[string]string, 10)
			for j, n := 0, uint64(i)*0x9e3779b97f4a7c15; j < 10; j++ {
				labels[fmt.Sprint("k", j)] = fmt.Sprint(n % 10)
				n /= 10
			}
			if !yield(Subject{Kind: "Node", Name: fmt.Sprint("n", i), Network: "home", Labels: labels, Assurance: identity.AssuranceKey}) {
				return
			}
		}
	}
	changes := Changes{Policies: append(slices.Clone(w.Policies[1:]), policyOf([]api.Selector{{}}, []api.Selector{{}}, "", rule("any")))}
	b.ReportAllocs()
	for b.Loop() {
		if d := Difference(w, changes); !d.Incomplete {
			b.Fatalf("%+v", d)
		}
	}
}

func BenchmarkDifference(b *testing.B) {
	for _, n := range []int{10_000, 1_000_000} {
		w := bigWorld(n)
		devices := slices.Collect(w.Devices)
		w.Devices = slices.Values(devices)
		narrow := slices.Clone(w.Policies)
		narrow[3] = policyOf(narrow[3].Spec.From, narrow[3].Spec.To, "", rule("tcp", "8080"))
		wide := append(slices.Clone(w.Policies), policyOf([]api.Selector{{}}, []api.Selector{{}}, "", rule("any")))
		for name, policies := range map[string][]*api.AccessPolicy{"one policy of a site": narrow, "one policy of all": wide} {
			b.Run(fmt.Sprintf("devices=%d/%s", n, name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if d := Difference(w, Changes{Policies: policies}); d.GainedPairs == 0 || d.Incomplete {
						b.Fatalf("%+v", d)
					}
				}
			})
		}
	}
}

func drawSelector(t *rapid.T) (s api.Selector) {
	if rapid.Bool().Draw(t, "kinds") {
		s.Kinds = []string{rapid.SampledFrom([]string{"Node", "GeneralNode"}).Draw(t, "kind")}
	}
	if rapid.IntRange(0, 3).Draw(t, "names") == 0 {
		s.Names = []string{fmt.Sprint("d", rapid.IntRange(0, 4).Draw(t, "name"))}
	}
	for _, key := range []string{"a", "b"} {
		if rapid.IntRange(0, 3).Draw(t, "by "+key) == 0 {
			s.MatchLabels = map[string]string{key: rapid.SampledFrom([]string{"1", "2"}).Draw(t, key)}
		}
	}
	return s
}
