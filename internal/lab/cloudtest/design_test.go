package cloudtest

import (
	"context"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/lab/cloud"
	"github.com/cyphonic/cyphonic/internal/lab/load"
)

// The cloud comes up and serves in both designs, behind routers of both kinds. That of all other tests is private, with FRR.
func TestEveryDesignWithEveryRouter(t *testing.T) {
	shared.close(false) // two clouds at once are too much for a small machine
	for _, row := range []struct {
		design   cloud.Design
		software cloud.Software
	}{{cloud.Public, cloud.FRR}, {cloud.Private, cloud.BIRD}, {cloud.Public, cloud.BIRD}} {
		t.Run(string(row.design)+" "+string(row.software), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			begin := time.Now()
			c, err := cloud.Start(ctx, cloud.Options{Programs: shared.programs, Design: row.design, Software: row.software, Sources: 30})
			t.Cleanup(func() {
				if err := c.Close(); err != nil {
					t.Error(err)
				}
			})
			must(t, err)
			must(t, c.StartDevices(ctx))
			t.Logf("stands after %.1f s", time.Since(begin).Seconds())
			report, err := c.Load.Load(ctx, load.Plan{Rate: 30, Count: 120})
			must(t, err)
			nobodyNotices(t, report)
			seen, err := c.Load.Observations(ctx)
			must(t, err)
			for _, o := range seen {
				if o.Observed != o.Source {
					t.Errorf("%s sends from %s, the NMS sees %s", o.Device, o.Source, o.Observed)
				}
			}
		})
	}
}
