package replicas

import (
	"context"
	"encoding/json"

	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/store"
)

// Speakers reads what the speakers of all hosts report, in the order of the hosts' names. Records that cannot be read are
// left out.
func Speakers(ctx context.Context, s store.Store) ([]keyspace.SpeakerRecord, error) {
	listing, err := s.List(ctx, keyspace.SpeakersPrefix, store.ListOptions{Limit: maxSpeakers})
	if err != nil {
		return nil, err
	}
	var speakers []keyspace.SpeakerRecord
	for _, e := range listing.Entries {
		var record keyspace.SpeakerRecord
		host, ok := keyspace.ParseSpeaker(e.Key)
		if ok && json.Unmarshal(e.Value, &record) == nil && record.Host == host {
			speakers = append(speakers, record)
		}
	}
	return speakers, nil
}
