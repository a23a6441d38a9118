package dataplane

import "time"

// flowKey names a flow within one association, whose two addresses of each family are fixed.
type flowKey struct {
	version, protocol uint8
	local, peer       uint16 // ports of this end and of the peer; ICMP echo: identifier and 0
}

// flow is one entry of a flow table.
type flow struct {
	key          flowKey
	inbound      bool   // the peer opened it
	replied      bool   // the other side has answered
	finOut       bool   // TCP: this end has sent its FIN
	finIn        bool   // TCP: the peer has sent its FIN
	closed       bool   // TCP: reset, or both FINs seen
	openingPort  uint16 // destination port of the first packet, which the rule allowed
	seen         int64  // ns, last packet
	newer, older int32  // neighbours in the order of use, -1 at the ends
}

// flowTable is a bounded table of flows in the order of use. The zero value is empty.
type flowTable struct {
	index  map[flowKey]int32
	flows  []flow
	newest int32
	oldest int32
	unused []int32 // entries of flows that were removed
}

// find returns the flow with that key, marked as used, or nil. A flow that was idle for
// longer than its timeout is removed.
func (t *flowTable) find(key flowKey, now int64) *flow {
	var at int32
	if len(t.index) > 0 && t.flows[t.newest].key == key {
		at = t.newest // most packets belong to the same flow as the one before
	} else {
		var ok bool
		if at, ok = t.index[key]; !ok {
			return nil
		}
	}
	f := &t.flows[at]
	if now-f.seen > int64(f.timeout()) {
		t.remove(at)
		return nil
	}
	t.use(at)
	return f
}

// open adds a flow, in the place of the one that was idle longest if the table is full.
func (t *flowTable) open(f flow) *flow {
	if t.index == nil {
		t.index = make(map[flowKey]int32)
	}
	if len(t.index) >= maxFlows {
		t.remove(t.oldest)
	}
	var at int32
	if n := len(t.unused); n > 0 {
		at, t.unused = t.unused[n-1], t.unused[:n-1]
		t.flows[at] = f
	} else {
		at = int32(len(t.flows))
		t.flows = append(t.flows, f)
	}
	empty := len(t.index) == 0
	t.index[f.key] = at
	e := &t.flows[at]
	e.newer, e.older = -1, -1
	if empty {
		t.newest, t.oldest = at, at
	} else {
		e.older, t.flows[t.newest].newer = t.newest, at
		t.newest = at
	}
	return e
}

// removeIf removes the flows for which bad returns true.
func (t *flowTable) removeIf(bad func(*flow) bool) {
	for _, at := range t.index {
		if bad(&t.flows[at]) {
			t.remove(at)
		}
	}
}

// delete removes the flow with that key.
func (t *flowTable) delete(key flowKey) {
	if at, ok := t.index[key]; ok {
		t.remove(at)
	}
}

func (t *flowTable) remove(at int32) {
	t.unlink(at)
	delete(t.index, t.flows[at].key)
	t.flows[at] = flow{}
	t.unused = append(t.unused, at)
}

// use moves an entry to the newest end.
func (t *flowTable) use(at int32) {
	if at == t.newest {
		return
	}
	t.unlink(at)
	e := &t.flows[at]
	e.newer, e.older = -1, t.newest
	t.flows[t.newest].newer = at
	t.newest = at
}

func (t *flowTable) unlink(at int32) {
	e := &t.flows[at]
	if e.newer >= 0 {
		t.flows[e.newer].older = e.older
	} else {
		t.newest = e.older
	}
	if e.older >= 0 {
		t.flows[e.older].newer = e.newer
	} else {
		t.oldest = e.newer
	}
}

func (f *flow) timeout() time.Duration {
	switch f.key.protocol {
	case protocolTCP:
		switch {
		case f.closed:
			return timeoutTCPClosing
		case !f.replied:
			return timeoutTCPOpening
		}
		return timeoutTCPEstablished
	case protocolUDP, protocolUDPLite:
		return timeoutUDP
	case protocolICMP, protocolICMPv6:
		return timeoutICMP
	}
	return timeoutOther
}
