package speaker

import (
	"fmt"
	"slices"
	"testing"
)

func TestCommunitiesAreThoseOfTheAPI(t *testing.T) {
	const resource = `{"metadata": {"name": "a"}, "spec": {"communities": [%q], "largeCommunities": [%q]}}`
	a, err := readAdvertisement(fmt.Appendf(nil, resource, "64512:100", "4200000000:1:2"))
	if err != nil || !slices.Equal(a.attributes.Communities, []uint32{64512<<16 | 100}) ||
		!slices.Equal(a.attributes.LargeCommunities, []LargeCommunity{{4200000000, 1, 2}}) {
		t.Errorf("%+v, %v", a.attributes, err)
	}
	if a, err := readAdvertisement(fmt.Appendf(nil, resource, "graceful-shutdown", "0:0:0")); err != nil || a.attributes.Communities[0] != GracefulShutdown {
		t.Errorf("%+v, %v", a.attributes, err)
	}
	for _, bad := range [][2]string{{"064512:100", "1:2:3"}, {"1:65536", "1:2:3"}, {"elsewhere", "1:2:3"}, {"1:2", "1:2"}, {"1:2", "1:2:4294967296"}} {
		if a, err := readAdvertisement(fmt.Appendf(nil, resource, bad[0], bad[1])); err == nil {
			t.Errorf("%v was read as %+v", bad, a.attributes)
		}
	}
}
