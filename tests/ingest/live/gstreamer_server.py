"""Run by the system's Python: an RTSP server that is none of ours. Prints its port, and serves until it is ended.

Its argument is a recording in MPEG-4 Part 2, which it cannot make itself.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

Gst.init(None)
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service("0")
PICTURES = "videotestsrc is-live=true pattern=ball ! video/x-raw,format=I420,width=320,height=192,framerate=15/1"
ENCODERS = {
    "h264": "x264enc tune=zerolatency key-int-max=15 ! rtph264pay",
    "sliced": "x264enc tune=zerolatency sliced-threads=true threads=4 key-int-max=15 ! rtph264pay",
    "hevc": "x265enc tune=zerolatency key-int-max=15 ! rtph265pay",
    "together": "x264enc tune=zerolatency key-int-max=15 aud=true ! h264parse "
    "! rtph264pay aggregate-mode=zero-latency config-interval=-1",
    "mjpeg": "jpegenc ! rtpjpegpay",
    "vp8": "vp8enc deadline=1 keyframe-max-dist=15 ! rtpvp8pay",
}
SOURCES = {name: f"{PICTURES} ! {encoder}" for name, encoder in ENCODERS.items()}
SOURCES["mpeg4"] = f"filesrc location={sys.argv[1]} ! qtdemux ! mpeg4videoparse config-interval=1 ! rtpmp4vpay"
for name, source in SOURCES.items():
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(f"( {source} name=pay0 pt={26 if name == 'mjpeg' else 96} )")
    factory.set_shared(True)
    server.get_mount_points().add_factory(f"/{name}", factory)
server.attach(None)
sys.stdout.write(f"{server.get_bound_port()}\n")
sys.stdout.flush()
GLib.MainLoop().run()
