package wire

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"runtime/debug"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/culvert-proxy/culvert/framework"
	pb "github.com/culvert-proxy/culvert/framework/wire/proto/v1"
)

// recovered turns a panic of the plugin's code into an error, and logs the
// stack: the process and its other flows live on.
func (s *Server) recovered(where string, err *error) {
	if r := recover(); r != nil {
		s.Log.Error("panic", "in", where, "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
		*err = status.Errorf(codes.Internal, "panic in %s: %v", where, r)
	}
}

// parseRule is the configuration of a rule.
func parseRule(text []byte) (framework.Source, error) {
	var c ruleConfig
	if err := json.Unmarshal(text, &c); err != nil {
		return nil, fmt.Errorf("configuration of a rule: %w", err)
	}
	return ruleSource{framework.RuleArgs{Payload: c.Payload, Params: c.Params}}, nil
}

type ruleSource struct{ args framework.RuleArgs }

// Decode implements framework.Source.
func (r ruleSource) Decode(into any) error {
	a, ok := into.(*framework.RuleArgs)
	if !ok {
		return fmt.Errorf("the arguments of a rule do not decode into %T", into)
	}
	*a = r.args
	return nil
}

// Match implements pluginv1.PluginServer.
func (s *service) Match(_ context.Context, m *pb.MatchRequest) (reply *pb.MatchReply, err error) {
	defer s.recovered("match", &err)
	v, err := s.instance(m.Handle)
	rule, ok := v.(framework.Rule)
	if err != nil || !ok {
		return nil, status.Errorf(codes.NotFound, "no rule %d", m.Handle)
	}
	keeper, _ := v.(VerdictKeeper)
	reply = &pb.MatchReply{}
	for _, in := range m.Flows {
		f, known := flowOf(in)
		out := &pb.Verdict{}
		match, err := rule.Match(f, known)
		if err != nil {
			out.Error = err.Error()
		} else if out.Match = match; keeper != nil {
			out.CacheMs = milliseconds(keeper.KeepVerdict())
		}
		reply.Verdicts = append(reply.Verdicts, out)
	}
	return reply, nil
}

// knownFacts is what the kernel knows of a flow.
type knownFacts struct {
	host string
	ip   netip.Addr
}

func (k knownFacts) Host() string           { return k.host }
func (k knownFacts) IP() (netip.Addr, bool) { return k.ip, k.ip.IsValid() }

func flowOf(in *pb.Flow) (*framework.Flow, knownFacts) {
	source, _ := netip.AddrFromSlice(in.SourceIp)
	ip, _ := netip.AddrFromSlice(in.DestinationIp)
	f := &framework.Flow{Network: framework.Network(in.Network), Source: netip.AddrPortFrom(source, uint16(in.SourcePort)), DSCP: uint8(in.Dscp),
		Destination: framework.Addr{Host: in.Host, Port: uint16(in.DestinationPort)},
		Inbound:     framework.Origin{Name: in.Inbound, Type: in.InboundType, User: in.User}}
	if in.Host == "" {
		f.Destination.IP = ip
	}
	return f, knownFacts{in.Host, ip}
}

// Fetch implements pluginv1.PluginServer.
func (s *service) Fetch(m *pb.FetchRequest, out grpc.ServerStreamingServer[pb.Chunk]) (err error) {
	defer s.recovered("fetch", &err)
	v, err := s.instance(m.Handle)
	f, ok := v.(framework.Fetcher)
	if err != nil || !ok {
		return status.Errorf(codes.NotFound, "no fetcher %d", m.Handle)
	}
	doc, err := f.Fetch(out.Context(), framework.Version(m.Since))
	if errors.Is(err, framework.ErrUnchanged) {
		return out.Send(&pb.Chunk{Unchanged: true})
	}
	if err != nil {
		return out.Send(failedChunk(err))
	}
	defer doc.Body.Close()
	first := &pb.Chunk{Version: string(doc.Version), Header: map[string]*pb.Values{}}
	for k, v := range doc.Header {
		first.Header[k] = &pb.Values{Values: v}
	}
	if err := out.Send(first); err != nil {
		return err
	}
	return sendBody(out, doc.Body)
}

func sendBody(out grpc.ServerStreamingServer[pb.Chunk], body io.Reader) error {
	b := make([]byte, 64<<10) // well below maxChunk, and one write of gRPC's
	for {
		n, err := body.Read(b)
		if n > 0 {
			if err := out.Send(&pb.Chunk{Data: b[:n]}); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return out.Send(failedChunk(err))
		}
	}
}

func failedChunk(err error) *pb.Chunk {
	return &pb.Chunk{Status: uint32(StatusOf(err)), Error: err.Error()}
}

// countEvery is how often counters are told. Chosen: well below the interval
// of a metrics scrape.
const countEvery = 250 * time.Millisecond

// Events implements pluginv1.PluginServer.
func (s *service) Events(_ *pb.EventsRequest, out grpc.ServerStreamingServer[pb.Event]) error {
	t := time.NewTicker(countEvery)
	defer t.Stop()
	for {
		select {
		case <-out.Context().Done():
			return nil
		case <-s.counts.some:
		}
		for k, n := range s.counts.take() {
			e := &pb.Event{Event: &pb.Event_Count{Count: &pb.Count{Handle: k.handle, Metric: k.metric, N: n}}}
			if err := out.Send(e); err != nil {
				return err
			}
		}
		select {
		case <-out.Context().Done():
			return nil
		case <-t.C:
		}
	}
}

// Drain implements pluginv1.PluginServer.
func (s *service) Drain(context.Context, *pb.DrainRequest) (*pb.DrainReply, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.draining {
		s.draining = true
		if s.active == 0 {
			close(s.drained)
		}
	}
	return &pb.DrainReply{}, nil
}
