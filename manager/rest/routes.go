package rest

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/manager/access"
)

// The sorts of operations, as the specification says in x-cyphonic-access.
const (
	accessPublic        = "public"        // everybody
	accessAuthenticated = "authenticated" // everybody with a good credential
	accessAdapter       = "adapter"       // the adapter that the path names; others with the right on what is there
	accessResource      = "resource"      // who has the right on the resource
)

// route is what authorisation knows of an operation.
type route struct {
	operation string // operationId
	access    string
	kind      string
	verbs     []access.Verb // one of them is needed; PUT creates or updates
	// everywhere says that the right is needed in all networks: the operation
	// has no resource of one network that could be decided about later.
	everywhere bool
	// read says that also a read is recorded in the audit log.
	read bool
	// write says that refusals are recorded because of what was asked for.
	write bool
}

// special are the operations whose kind and verb do not follow from path and
// method.
func special(operation string) (route, bool) {
	list := map[string]route{
		"listAuditRecords":            {kind: access.KindAudit, verbs: []access.Verb{access.List}, read: true},
		"getBackup":                   {kind: access.KindBackup, verbs: []access.Verb{access.Get}, everywhere: true, read: true},
		"createRestore":               {kind: access.KindRestore, verbs: []access.Verb{access.Create}, everywhere: true, read: true, write: true},
		"createPlan":                  {kind: access.KindPlan, verbs: []access.Verb{access.Create}},
		"getReachability":             {kind: access.KindReachability, verbs: []access.Verb{access.Get}},
		"getMetrics":                  {kind: access.KindMetrics, verbs: []access.Verb{access.Get}, everywhere: true},
		"getTelemetryMetrics":         {kind: access.KindMetrics, verbs: []access.Verb{access.Get}, everywhere: true},
		"getTelemetryTargets":         {kind: access.KindMetrics, verbs: []access.Verb{access.Get}, everywhere: true},
		"listAdapterGeneralNodes":     {kind: "GeneralNode", verbs: []access.Verb{access.List}},
		"putAdapterGeneralNodeStatus": {kind: "GeneralNode", verbs: []access.Verb{access.Report}, write: true},
		"drainReplica":                {kind: kindReplica, verbs: []access.Verb{access.Update}, write: true},
		"pushAdapterMetrics":          {kind: "Adapter", verbs: []access.Verb{access.Report}, write: true},
	}
	r, ok := list[operation]
	return r, ok
}

// readRoutes reads who may use which operation from the specification. An
// operation of which that is not known is an error: nothing is served by mistake.
func readRoutes(d *document) (map[string]route, error) {
	routes := map[string]route{}
	for path, item := range d.parsed.Paths.Map() {
		for method, operation := range item.Operations() {
			sort, _ := operation.Extensions["x-cyphonic-access"].(string)
			r := route{}
			switch sort {
			case accessPublic, accessAuthenticated:
			case accessAdapter, accessResource:
				var ok bool
				if r, ok = special(operation.OperationID); !ok {
					if r, ok = resourceRoute(method, path); !ok || sort == accessAdapter {
						return nil, fmt.Errorf("operation %s (%s %s): it is not known which right it needs", operation.OperationID, method, path)
					}
				}
			default:
				return nil, fmt.Errorf("operation %s (%s %s) has the x-cyphonic-access %q", operation.OperationID, method, path, sort)
			}
			r.operation, r.access = operation.OperationID, sort
			routes[method+" "+routeOf(path)] = r
		}
	}
	return routes, nil
}

// resourceRoute is the route of an operation on resources of a kind.
func resourceRoute(method, path string) (route, bool) {
	rest, ok := strings.CutPrefix(path, "/api/v1/")
	parts := strings.Split(rest, "/")
	kind, known := api.KindOfPlural(parts[0])
	if !ok || !known {
		return route{}, false
	}
	r := route{kind: kind.Name, write: method != http.MethodGet}
	shape := method + strings.Repeat(" item", min(1, len(parts)-1))
	if len(parts) == 3 && parts[2] == "status" {
		shape = method + " status"
	} else if len(parts) > 2 {
		return route{}, false
	}
	verbs := map[string][]access.Verb{
		"GET":         {access.List},
		"POST":        {access.Create},
		"GET item":    {access.Get},
		"PUT item":    {access.Update, access.Create},
		"PATCH item":  {access.Patch, access.Create},
		"DELETE item": {access.Delete},
		"GET status":  {access.Get},
		"PUT status":  {access.Report},
	}
	r.verbs, ok = verbs[shape]
	return r, ok
}
