package netfilter

import (
	"context"
	"fmt"
	"testing"
)

// BenchmarkApply drains one of three backends and takes it back, with 1 and with 8 services.
func BenchmarkApply(b *testing.B) {
	for _, services := range []int{1, 8} {
		b.Run(fmt.Sprintf("services=%d", services), func(b *testing.B) {
			w := build(b)
			balancer := w.balancer(w.one)
			var state State
			for i := range services {
				s := w.udpService()
				s.Name, s.Port = fmt.Sprintf("s%d", i), uint16(1000+i)
				for j := range 3 {
					s.Backends = append(s.Backends, Backend{Name: fmt.Sprintf("r%d", j), Address: w.addresses(w.hostOne()), Port: uint16(10000 + 10*i + j)})
				}
				state.Services = append(state.Services, s)
			}
			balancer.apply(state)
			err := w.one.Do(func() error {
				for i := 0; b.Loop(); i++ {
					state.Services[0].Backends[0].Draining = i%2 == 0
					if err := balancer.Apply(context.Background(), state); err != nil {
						return err
					}
					b.StopTimer()
					if err := balancer.Clean(context.Background()); err != nil {
						return err
					}
					b.StartTimer()
				}
				return nil
			})
			if err != nil {
				b.Fatal(err)
			}
		})
	}
}
