package wire

import (
	"context"
	"errors"
	"fmt"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/conf"
	pb "github.com/culvert-proxy/culvert/framework/wire/proto/v1"
)

// service is a Server as the control channel calls it.
type service struct {
	pb.UnimplementedPluginServer
	*Server
}

// Describe implements pluginv1.PluginServer.
func (s *service) Describe(_ context.Context, req *pb.DescribeRequest) (*pb.DescribeReply, error) {
	reply := &pb.DescribeReply{Version: s.Version}
	for _, d := range s.Types {
		t := &pb.Type{Kind: string(d.Kind), Type: d.Type, Label: d.Label, Aliases: d.Aliases, Summary: d.Summary, Stability: string(d.Stability), Schema: d.Schema}
		for _, c := range d.Caps {
			t.Caps = append(t.Caps, string(c))
		}
		for _, c := range d.Requires {
			t.Requires = append(t.Requires, string(c))
		}
		if len(t.Schema) == 0 && d.Kind != framework.KindRule {
			t.Schema = conf.Schema(d.Defaults())
		}
		reply.Types = append(reply.Types, t)
	}
	return reply, nil
}

// source is a configuration as it came over the wire.
func source(m *pb.Instance) (framework.Source, error) {
	if m.Kind == string(framework.KindRule) {
		return parseRule(m.Config)
	}
	tree, err := conf.Parse("configuration", m.Config)
	if err != nil {
		return nil, err
	}
	return tree.Root().Source(conf.Loose), nil
}

// Check implements pluginv1.PluginServer.
func (s *service) Check(_ context.Context, m *pb.Instance) (reply *pb.Problems, err error) {
	defer s.recovered("check", &err)
	d, ok := s.find(m.Kind, m.Type)
	if !ok {
		return &pb.Problems{Problems: []*pb.Problem{noType(m)}}, nil
	}
	src, err := source(m)
	if err == nil {
		err = d.Check(src)
	}
	list := problemsOf(err)
	if w, ok := src.(interface{ Warnings() conf.Problems }); ok {
		for _, p := range w.Warnings() {
			list = append(list, &pb.Problem{Path: p.Path, Message: p.Msg, Warning: true})
		}
	}
	return &pb.Problems{Problems: list}, nil
}

func noType(m *pb.Instance) *pb.Problem {
	return &pb.Problem{Message: fmt.Sprintf("the plugin holds no %s %q", m.Kind, m.Type)}
}

// problemsOf takes the mistakes out of an error.
func problemsOf(err error) []*pb.Problem {
	if err == nil {
		return nil
	}
	var problems conf.Problems
	if errors.As(err, &problems) {
		var out []*pb.Problem
		for _, p := range problems.Errors() {
			out = append(out, &pb.Problem{Path: p.Path, Message: p.Msg})
		}
		return out
	}
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		var out []*pb.Problem
		for _, one := range many.Unwrap() {
			out = append(out, problemsOf(one)...)
		}
		return out
	}
	var fe *framework.FieldError
	if errors.As(err, &fe) {
		return []*pb.Problem{{Path: fe.Path, Message: fe.Msg}}
	}
	return []*pb.Problem{{Message: err.Error()}}
}

// Open implements pluginv1.PluginServer.
func (s *service) Open(_ context.Context, m *pb.Instance) (reply *pb.OpenReply, err error) {
	defer s.recovered("open", &err)
	d, ok := s.find(m.Kind, m.Type)
	if !ok {
		return &pb.OpenReply{Problems: []*pb.Problem{noType(m)}}, nil
	}
	src, err := source(m)
	if err != nil {
		return &pb.OpenReply{Problems: problemsOf(err)}, nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	value, err := build(ctx, d, s.host(m, d), src)
	if err != nil {
		cancel()
		return &pb.OpenReply{Problems: problemsOf(err)}, nil
	}
	s.keep(m.Handle, &opened{value, cancel})
	return describeOpened(value), nil
}

// keep puts an instance under its handle; one that is there is closed.
func (s *service) keep(handle uint32, o *opened) {
	s.mu.Lock()
	old := s.instances[handle]
	s.instances[handle] = o
	s.mu.Unlock()
	if old != nil {
		old.close()
	}
}

func describeOpened(value any) *pb.OpenReply {
	reply := &pb.OpenReply{}
	if p, ok := value.(framework.PacketCarrier); ok {
		packets := p.CarriesPackets()
		reply.Packets = &packets
	}
	if p, ok := value.(framework.PayloadTexter); ok {
		reply.Payload = p.PayloadText()
	}
	return reply
}

func build(ctx context.Context, d framework.Descriptor, h framework.Host, src framework.Source) (any, error) {
	switch d.Kind {
	case framework.KindOutbound:
		return framework.Build[framework.Outbound](ctx, d, h, src)
	case framework.KindRule:
		return framework.Build[framework.Rule](ctx, d, h, src)
	}
	return framework.Build[framework.Fetcher](ctx, d, h, src)
}

// Close implements pluginv1.PluginServer.
func (s *service) Close(_ context.Context, m *pb.CloseRequest) (*pb.CloseReply, error) {
	s.mu.Lock()
	o := s.instances[m.Handle]
	delete(s.instances, m.Handle)
	s.mu.Unlock()
	if o != nil {
		o.close()
	}
	return &pb.CloseReply{}, nil
}
