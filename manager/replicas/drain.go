package replicas

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/store"
)

// AskToDrain is the transaction with which a live replica is asked to drain. It fails with store.ErrNotFound if the
// replica has gone meanwhile.
func AskToDrain(r Replica, by string, now time.Time) (store.Transaction, error) {
	value, err := json.Marshal(keyspace.DrainRecord{Requested: now.UTC(), By: by})
	if err != nil {
		return store.Transaction{}, fmt.Errorf("encode the wish that %s drain: %w", r.Record.Name, err)
	}
	return store.Transaction{
		Conditions: []store.Condition{store.Present(keyspace.Live(r.Record.Service, r.Record.Name))},
		Writes:     []store.Write{store.PutFor(keyspace.Drain(r.Record.Service, r.Record.Name), value, drainLife)},
	}, nil
}

// Draining says that the replica is on its way out, or was asked to be.
func (r Replica) Draining() bool {
	return !r.Drain.Requested.IsZero() || r.Record.State == keyspace.ReplicaLeaving || r.Record.State == keyspace.ReplicaFinishing
}
