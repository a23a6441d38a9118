package load

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Plan of a load.
type Plan struct {
	// Rate in requests per second, of all kinds together.
	Rate float64 `json:"rate"`
	// Count of requests; 0: until it is stopped.
	Count int `json:"count"`
	// Kinds in turn; none: all.
	Kinds []Kind `json:"kinds,omitempty"`
}

// Load sends requests at the steady rate of the plan, waits for the last answers and reports. When ctx ends it sends no
// more and reports all the same.
func (g *Generator) Load(ctx context.Context, plan Plan) (*Report, error) {
	switch {
	case !g.ready.Load():
		return nil, errors.New("the devices are not set up")
	case plan.Rate <= 0 || plan.Rate > 1e6 || plan.Count < 0:
		return nil, errors.New("a plan needs a rate between 0 and 1,000,000 per second and a count")
	}
	if len(plan.Kinds) == 0 {
		plan.Kinds = Kinds()
	}
	begin := time.Now()
	r := newRecorder(begin)
	var all sync.WaitGroup
	places := make(chan struct{}, maxInflight)
	for k := 0; plan.Count == 0 || k < plan.Count; k++ {
		due := begin.Add(time.Duration(float64(k) / plan.Rate * float64(time.Second)))
		if !sleepUntil(ctx, due) {
			break
		}
		select {
		case places <- struct{}{}:
		default:
			r.unsent()
			continue
		}
		kind := plan.Kinds[k%len(plan.Kinds)]
		d, peer := g.choose(k, len(plan.Kinds))
		if d == nil {
			<-places
			r.unsent()
			continue
		}
		late := time.Since(due) > lateStart
		r.sent(kind, late)
		all.Go(func() {
			o := g.serve(context.WithoutCancel(ctx), kind, d, peer)
			r.ended(kind, d.name, due, late || g.stalls.during(due, due.Add(firstTry)), o)
			d.leave()
			peer.leave()
			<-places
		})
	}
	all.Wait()
	report := r.finish()
	report.Stalls = g.stalls.since(begin)
	return report, nil
}

// choose the device of the k-th request and, for a direction, its peer; nil if too many are left out. Each device uses all
// kinds in turn, with a third of all devices between one and the next; peers are at a distance that changes with each
// round. A device that is just registering or moving is left out, and the next one takes its place. Both have joined.
func (g *Generator) choose(k, kinds int) (d, peer *device) {
	n := len(g.devices)
	turn := k / kinds
	i := (turn + (k%kinds)*(n/kinds)) % n
	distance := 1 + (turn/n+7*i)%max(1, n-1)
	if d = g.join(i, true, nil); d == nil {
		return nil, nil
	}
	if peer = g.join(i+distance, false, d); peer == nil {
		d.leave()
		return nil, nil
	}
	return d, peer
}

// join lets the first device from the i-th on join that may and is not the other one; nil if there is none.
func (g *Generator) join(i int, makes bool, other *device) *device {
	n := len(g.devices)
	for k := range n {
		if d := g.devices[(i+k)%n]; d != other && d.join(makes) {
			return d
		}
	}
	return nil
}

func (g *Generator) serve(ctx context.Context, kind Kind, d, peer *device) outcome {
	switch kind {
	case Login:
		return g.login(ctx, d)
	case Registration:
		return register(ctx, d)
	default:
		return direct(ctx, d, peer)
	}
}

// sleepUntil says whether the time came before ctx ended.
func sleepUntil(ctx context.Context, at time.Time) bool {
	wait := time.Until(at)
	if wait <= 0 {
		return ctx.Err() == nil
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(wait):
		return true
	}
}
