"""Run by the system's Python: an RTSP server that is none of ours. Prints its port, and serves until it is ended."""

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
    "mjpeg": "jpegenc ! rtpjpegpay",
}
for name, encoder in ENCODERS.items():
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(f"( {PICTURES} ! {encoder} name=pay0 pt={26 if name == 'mjpeg' else 96} )")
    factory.set_shared(True)
    server.get_mount_points().add_factory(f"/{name}", factory)
server.attach(None)
sys.stdout.write(f"{server.get_bound_port()}\n")
sys.stdout.flush()
GLib.MainLoop().run()
