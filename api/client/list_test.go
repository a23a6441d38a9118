package client

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/cyphonic/cyphonic/api"
)

// pagesOf answers with pages of two nodes out of names; page n continues with "n".
func pagesOf(names []string, gone map[string]int, asked *[]string) transportFunc {
	return func(r *http.Request) (*http.Response, error) {
		query := r.URL.Query()
		*asked = append(*asked, r.URL.RawQuery)
		next := query.Get("continue")
		if gone[next] > 0 {
			gone[next]--
			return answerWith(410, `{"title":"Gone"}`), nil
		}
		var at int
		fmt.Sscan(next, &at)
		var items []string
		for _, name := range names[at:min(at+2, len(names))] {
			items = append(items, fmt.Sprintf(`{"metadata":{"name":%q}}`, name))
		}
		more := ""
		if at+2 < len(names) {
			more = fmt.Sprintf(`,"continue":"%d","remainingItemCount":%d`, at+2, len(names)-at-2)
		}
		return answerWith(200, fmt.Sprintf(`{"metadata":{"resourceVersion":"9"%s},"items":[%s]}`, more, strings.Join(items, ","))), nil
	}
}

func namesOf(list api.List) (names []string) {
	for _, o := range list.Items {
		names = append(names, o.Meta().Name)
	}
	return names
}

func TestListFollowsItsPages(t *testing.T) {
	var asked []string
	c := clientOf(t, pagesOf([]string{"a", "b", "c", "d", "e"}, nil, &asked))
	list, err := c.List(t.Context(), kindNamed(t, "Node"), ListOptions{Labels: "site in (x,y)", Fields: "spec.network=n", Limit: 2})
	if err != nil || !slices.Equal(namesOf(list), []string{"a", "b", "c", "d", "e"}) || list.Metadata.ResourceVersion != "9" || list.Metadata.Continue != "" {
		t.Errorf("got %+v, %v", list, err)
	}
	const selectors = "fieldSelector=spec.network%3Dn&labelSelector=site+in+%28x%2Cy%29&limit=2"
	want := []string{selectors, "continue=2&" + selectors, "continue=4&" + selectors}
	if !slices.Equal(asked, want) {
		t.Errorf("asked %q, want %q", asked, want)
	}
}

func TestListBeginsAnewWhereItsRevisionIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked []string
		c := clientOf(t, pagesOf([]string{"a", "b", "c"}, map[string]int{"2": 2}, &asked))
		list, err := c.List(t.Context(), kindNamed(t, "Node"), ListOptions{})
		if err != nil || !slices.Equal(namesOf(list), []string{"a", "b", "c"}) || len(asked) != 6 {
			t.Errorf("got %v, %v after %q", namesOf(list), err, asked)
		}
	})
}

func TestListGivesUpBeginningAnew(t *testing.T) {
	var asked []string
	c := clientOf(t, pagesOf([]string{"a", "b", "c"}, map[string]int{"2": 99}, &asked))
	if _, err := c.List(t.Context(), kindNamed(t, "Node"), ListOptions{}); !IsGone(err) || len(asked) != 2*(maxRestarts+1) {
		t.Errorf("got %v after %d requests", err, len(asked))
	}
}

func TestPagesThatCannotBeTakenBackAreNotBegunAnew(t *testing.T) {
	var asked []string
	c := clientOf(t, pagesOf([]string{"a", "b", "c"}, map[string]int{"2": 1}, &asked))
	pages := 0
	err := c.ListPages(t.Context(), kindNamed(t, "Node"), ListOptions{}, func(api.List) error { pages++; return nil })
	if !IsGone(err) || pages != 1 {
		t.Errorf("got %v after %d pages", err, pages)
	}
}

func TestListPagesEndsWithItsCaller(t *testing.T) {
	var asked []string
	c := clientOf(t, pagesOf([]string{"a", "b", "c"}, nil, &asked))
	enough := errors.New("enough")
	if err := c.ListPages(t.Context(), kindNamed(t, "Node"), ListOptions{}, func(api.List) error { return enough }); !errors.Is(err, enough) || len(asked) != 1 {
		t.Errorf("got %v after %d requests", err, len(asked))
	}
}
