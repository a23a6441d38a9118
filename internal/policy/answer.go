package policy

import "github.com/cyphonic/cyphonic/api"

// Answer is the reachability in the form of the REST API, which shows the flows that the first opens to the second.
func (r Reachability) Answer() api.Reachability {
	answer := api.Reachability{Allowed: r.Allowed, From: r.From.String(), To: r.To.String(), Flows: flowsAnswer(r.Flows)}
	for _, reason := range r.Reasons {
		answer.Reasons = append(answer.Reasons, api.ReachabilityReason{Policy: reason.Policy, Reason: reason.Reason})
	}
	return answer
}

// Answer is the difference in the form of the REST API: of each set of flows one pair as an example. What is not complete is truncated there.
func (d Diff) Answer() api.ReachabilityDifference {
	return api.ReachabilityDifference{
		Gained: changesAnswer(d.Gained), Lost: changesAnswer(d.Lost), GainedPairs: d.GainedPairs, LostPairs: d.LostPairs, Truncated: d.Truncated || d.Incomplete,
	}
}

func changesAnswer(changes []PairChange) (answer []api.ReachabilityChange) {
	for _, change := range changes {
		one := api.ReachabilityChange{Flows: flowsAnswer(change.Flows), Pairs: change.Pairs}
		if len(change.Samples) > 0 {
			one.From, one.To = change.Samples[0].From.String(), change.Samples[0].To.String()
		}
		answer = append(answer, one)
	}
	return answer
}

// flowsAnswer joins the ports of flows of one policy and protocol, which stand side by side.
func flowsAnswer(flows []Flow) (answer []api.ReachableFlow) {
	for _, f := range flows {
		if f.Direction == Inbound {
			continue
		}
		var ports []string
		if f.Ports != "" {
			ports = []string{f.Ports}
		}
		if n := len(answer) - 1; n >= 0 && answer[n].Policy == f.Policy && string(answer[n].Protocol) == f.Protocol {
			answer[n].Ports = append(answer[n].Ports, ports...)
			continue
		}
		answer = append(answer, api.ReachableFlow{Policy: f.Policy, Protocol: api.Protocol(f.Protocol), Ports: ports})
	}
	return answer
}
