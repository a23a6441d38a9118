package cloud

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cyphonic/cyphonic/internal/lab"
	"github.com/cyphonic/cyphonic/internal/lab/control"
)

// Replica is one running copy of a service on a host.
type Replica struct {
	*control.Process
	Service Service
	Host    int // counted from 0
	Name    string

	cloud  *Cloud
	number int // on the host, counted from 0
}

// Ports on a host: each replica has its own.
const (
	firstASPort      = 8410
	firstNMSPort     = 8420
	firstTRSPort     = 8430
	firstPeerPort    = 8440
	firstHealthPort  = 8450
	firstMetricsPort = 9410
)

func (c *Cloud) replicaSection(host int, name string) map[string]any {
	section := map[string]any{
		"name": name, "host": HostName(host), "addresses": []string{HostAddress4(host).String(), HostAddress6(host).String()},
		"speakerSocket": c.speakerSocket(host),
	}
	if c.options.Drain != nil {
		section["drain"] = c.options.Drain
	}
	return section
}

func (c *Cloud) speakerSocket(host int) string { return c.path("run", HostName(host)+"-speaker.sock") }

func (c *Cloud) startSpeakers(context.Context) error {
	for i := range c.options.Hosts {
		name := "speaker-" + HostName(i)
		config, err := c.Plane.WriteConfig(name, map[string]map[string]any{
			"replica": {"name": name, "host": HostName(i), "addresses": []string{HostAddress4(i).String(), HostAddress6(i).String()}},
			"speaker": {"socket": c.speakerSocket(i), "routerID": HostAddress4(i).String(), "stateFile": c.path("run", HostName(i)+"-speaker.json")},
			"metrics": {"listen": fmt.Sprintf("127.0.0.1:%d", firstMetricsPort-1)},
		})
		if err != nil {
			return err
		}
		p := control.NewProcess(c.Lab.Host(HostName(i)), lab.Command{
			Name: "speaker", Args: []string{c.Plane.Program("cyphonicd"), "speaker", "--config", config}, KeepRunning: c.options.Persistent,
		})
		c.Speakers = append(c.Speakers, p)
		if err := p.Start(); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cloud) startReplicas(ctx context.Context) error {
	for i := range c.options.Hosts {
		for _, s := range Services() {
			for k := range c.options.Replicas {
				if _, err := c.AddReplica(s, i, k); err != nil {
					return err
				}
			}
		}
	}
	for _, r := range c.Replicas {
		if err := r.AwaitReady(ctx); err != nil {
			return err
		}
	}
	return nil
}

// AddReplica starts one more replica of a service: number k of the host, which none may have.
func (c *Cloud) AddReplica(s Service, host, k int) (*Replica, error) {
	for _, r := range c.Replicas {
		if r.Service == s && r.Host == host && r.number == k {
			return nil, fmt.Errorf("there is a replica %s", r.Name)
		}
	}
	r := &Replica{Service: s, Host: host, Name: fmt.Sprintf("%s-%s-%d", s, HostName(host), k+1), cloud: c, number: k}
	if err := r.Configure(nil); err != nil {
		return nil, err
	}
	c.Replicas = append(c.Replicas, r)
	return r, r.Start()
}

// Configure writes the configuration that holds from the next start on; drain replaces the section of that name.
func (r *Replica) Configure(drain map[string]any) error {
	c, k := r.cloud, r.number
	section := c.replicaSection(r.Host, r.Name)
	if drain != nil {
		section["drain"] = drain
	}
	sections := map[string]map[string]any{
		"replica": section,
		"metrics": {"listen": fmt.Sprintf("127.0.0.1:%d", r.metricsPort())},
		"health":  {"listen": fmt.Sprintf(":%d", r.healthPort())},
	}
	switch r.Service {
	case AS:
		sections["as"] = map[string]any{"listen": fmt.Sprintf(":%d", firstASPort+k)}
	case NMS:
		sections["nms"] = map[string]any{"listen": fmt.Sprintf(":%d", firstNMSPort+k), "peerListen": fmt.Sprintf(":%d", firstPeerPort+k)}
	case TRS:
		port := firstTRSPort + k
		sections["trs"] = map[string]any{"listen": fmt.Sprintf(":%d", port), "advertise": []string{
			net.JoinHostPort(HostAddress4(r.Host).String(), fmt.Sprint(port)), net.JoinHostPort(HostAddress6(r.Host).String(), fmt.Sprint(port)),
		}}
	}
	config, err := c.Plane.WriteConfig(r.Name, sections)
	if err != nil {
		return err
	}
	args := []string{c.Plane.Program("cyphonicd"), string(r.Service), "--config", config}
	if r.Process == nil {
		r.Process = control.NewProcess(c.Lab.Host(HostName(r.Host)), lab.Command{Name: r.Name, Args: args, KeepRunning: c.options.Persistent})
	}
	r.SetArgs(args...)
	return nil
}

func (r *Replica) place() int {
	for i, s := range Services() {
		if s == r.Service {
			return i*maxReplicas + r.number
		}
	}
	return r.number
}

func (r *Replica) metricsPort() int { return firstMetricsPort + r.place() }
func (r *Replica) healthPort() int  { return firstHealthPort + r.place() }

// Get asks the replica's loopback listener and returns status and body of the answer.
func (r *Replica) Get(ctx context.Context, path string) (int, string, error) {
	out, err := r.cloud.Lab.Host(HostName(r.Host)).Run(ctx, "curl", "-s", "-m", "2", "-w", "%{http_code}", fmt.Sprintf("http://127.0.0.1:%d%s", r.metricsPort(), path))
	if err != nil || len(out) < 3 {
		return 0, "", errors.Join(err, errors.New("no answer"))
	}
	var status int
	_, err = fmt.Sscan(out[len(out)-3:], &status)
	return status, out[:len(out)-3], err
}

// Counter adds up the samples of a metric of the replica whose labels contain a text.
func (r *Replica) Counter(ctx context.Context, name, labels string) (sum float64, err error) {
	status, body, err := r.Get(ctx, "/metrics")
	if err != nil || status != http.StatusOK {
		return 0, fmt.Errorf("metrics of %s: status %d: %w", r.Name, status, err)
	}
	found := false
	for line := range strings.Lines(body) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || rest == "" || rest[0] != '{' && rest[0] != ' ' || !strings.Contains(rest, labels) {
			continue
		}
		value, err := strconv.ParseFloat(strings.TrimSpace(rest[strings.LastIndexByte(rest, ' '):]), 64)
		if err != nil {
			return 0, fmt.Errorf("metrics of %s: %q: %w", r.Name, line, err)
		}
		sum, found = sum+value, true
	}
	if !found {
		return 0, fmt.Errorf("metrics of %s: there is no %s with %s", r.Name, name, labels)
	}
	return sum, nil
}

// CPU is the processor time that the process has used.
func (r *Replica) CPU() (time.Duration, error) { return processTime(r.PID()) }

// clockTick is the unit of times in /proc (sysconf(_SC_CLK_TCK)), the same on every Linux.
const clockTick = 10 * time.Millisecond

// processTime is the time that a process has used, of the user and of the system.
func processTime(pid int) (time.Duration, error) {
	fields, err := processFields(pid)
	if err != nil {
		return 0, err
	}
	return timeOf(fields)
}

// processFields are those of /proc/PID/stat from the third one on.
func processFields(pid int) ([]string, error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	fields := strings.Fields(string(content[strings.LastIndexByte(string(content), ')')+1:]))
	if len(fields) < 13 {
		return nil, fmt.Errorf("unexpected /proc/%d/stat", pid)
	}
	return fields, nil
}

// timeOf adds fields 14 and 15 up.
func timeOf(fields []string) (sum time.Duration, err error) {
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, err
		}
		sum += time.Duration(n) * clockTick
	}
	return sum, nil
}

// Ready asks the replica's health listener whether it can serve.
func (r *Replica) Ready(ctx context.Context) error {
	transport := &http.Transport{DialContext: r.cloud.Plane.Dial, DisableKeepAlives: true}
	client := &http.Client{Transport: transport, Timeout: time.Second}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s:%d/readyz", HostAddress4(r.Host), r.healthPort()), nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	return nil
}

// AwaitReady waits until the replica can serve.
func (r *Replica) AwaitReady(ctx context.Context) error {
	err := await(ctx, startTimeout, func() error {
		if !r.Running() {
			return fmt.Errorf("it has ended (%w): %s", r.Err(), r.LogTail(8))
		}
		return r.Ready(ctx)
	})
	if err != nil {
		return fmt.Errorf("replica %s: %w", r.Name, err)
	}
	return nil
}

// Leave asks the replica to end in order (SIGTERM) and waits until it has; it must end with success.
func (r *Replica) Leave(ctx context.Context) error {
	if err := r.Terminate(ctx); err != nil {
		return fmt.Errorf("replica %s: %w", r.Name, err)
	}
	if err := r.Err(); err != nil {
		return fmt.Errorf("replica %s ended with %w: %s", r.Name, err, r.LogTail(5))
	}
	return nil
}

// Return starts the replica again and waits until it can serve.
func (r *Replica) Return(ctx context.Context) error {
	if err := r.Start(); err != nil {
		return err
	}
	return r.AwaitReady(ctx)
}

// On lists the replicas of a host, of one service or, with an empty one, of all.
func (c *Cloud) On(host int, s Service) []*Replica {
	var all []*Replica
	for _, r := range c.Replicas {
		if r.Host == host && (s == "" || r.Service == s) {
			all = append(all, r)
		}
	}
	return all
}

// CutHost takes the cable between a host and the router away, or puts it back. The router does not see it: what goes on
// behind the switch between them is hidden from it.
func (c *Cloud) CutHost(host int, cut bool) error {
	return c.Lab.Host(Router).SetLink("to-"+HostName(host), !cut)
}

// Signal sends a signal to the replica.
func (r *Replica) Signal(s syscall.Signal) error { return syscall.Kill(r.PID(), s) }
