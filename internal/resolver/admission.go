package resolver

import (
	"net/netip"
	"sync"
)

// admission bounds the questions in work, all together and of each client, so that one client that asks
// what nobody answers does not keep the others from asking.
type admission struct {
	slots chan struct{} // one token per question in work

	// Under mu.
	mu       sync.Mutex
	byClient map[netip.Addr]int
}

func newAdmission() *admission {
	return &admission{slots: make(chan struct{}, maxQuestions), byClient: make(map[netip.Addr]int)}
}

// enter takes a place for a question of the client, if there is one.
func (a *admission) enter(client netip.Addr) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.byClient[client] >= maxClientQuestions {
		return false
	}
	select {
	case a.slots <- struct{}{}:
		a.byClient[client]++
		return true
	default:
		return false
	}
}

// leave gives the place back.
func (a *admission) leave(client netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	<-a.slots
	if a.byClient[client]--; a.byClient[client] == 0 {
		delete(a.byClient, client)
	}
}
