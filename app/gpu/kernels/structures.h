// What the kernels and app/gpu/structures.py share. Pointers are 64-bit numbers, booleans are int.
#pragma once

enum FrameKind { NO_FRAME = 0, BGR_FRAME = 1, STUDIO_YUV_FRAME = 2, FULL_YUV_FRAME = 3 };

enum TensorType { UINT8_TENSOR = 0, FLOAT32_TENSOR = 1, FLOAT16_TENSOR = 2 };

enum Family { YOLOX = 0, YOLO = 1, YOLOV8 = 2, NANODET = 3, NANODET_PLUS = 4, FASTESTDET = 5 };

enum Capacity { MAX_OUTPUTS = 8, MAX_STRIDES = 4, MAX_DETECTIONS = 512, CLASS_BITS = 12, PREDICTION_BITS = 20, MAX_LEVELS = 4 };

// One canvas of a batch: the frame that its patches are cut from, and which copies are its own.
struct CanvasJob {
    unsigned long long planes[3];  // interleaved BGR in the first; or Y, U, V with halved chroma
    int luma_pitch;                // bytes from row to row, of BGR or luma
    int chroma_pitch;              // bytes from row to row, of both chroma planes
    int width;                     // of the frame, in pixels
    int height;
    int kind;  // FrameKind
    int first_copy;
    int n_copies;
    unsigned char pad[3];  // blue, green, red where no patch lies
};

// x1, y1, x2, y2 in frame pixels, inside the frame; and in canvas pixels, inside the canvas. Neither is empty.
struct PatchCopy {
    int source[4];
    int target[4];
};

// value = pixel * scale - offset, in the model's channel order; uint8 takes pixels as they are.
struct InputLayout {
    int dtype;  // TensorType
    int is_channels_last;
    int is_rgb;
    float scale[3];
    float offset[3];
};

// The raw outputs of one batch, and what makes detections of them.
struct PredictionSet {
    unsigned long long outputs[MAX_OUTPUTS];  // NANODET: scores of each level, then distances; others: one
    int family;                               // Family
    int n_classes;                            // at most 2^CLASS_BITS
    int n_predictions;                        // for each canvas, of all levels together; at most 2^PREDICTION_BITS
    int width;                                // of the canvas, in pixels
    int height;
    int n_columns;  // FASTESTDET: of its map
    int n_strides;
    int strides[MAX_STRIDES];
    int max_candidates;  // at most MAX_DETECTIONS
    int is_half;         // the outputs are float16
    float score_floor;
    float objectness_floor;  // the least objectness with which score_floor can be reached
    float nms_iou;           // negative: keep duplicates
    float centre;            // NANODET, NANODET_PLUS: where in its cell an anchor point lies
};

// Rows from n on are undefined.
struct FoundDetections {
    int n;
    float boxes[MAX_DETECTIONS][4];
    float scores[MAX_DETECTIONS];
    int class_ids[MAX_DETECTIONS];
};

// A plane of 8-bit luma.
struct LumaPlane {
    unsigned long long pixels;
    int pitch;  // bytes from row to row
    int width;
    int height;
};

// Two frames whose points are followed from one to the other, each with its luma halved again and again.
struct FlowJob {
    LumaPlane earlier[MAX_LEVELS];
    LumaPlane later[MAX_LEVELS];
    int n_levels;
    int n_points;
    int max_steps;      // on each level
    float last_step_px;  // a step as short as that is the last one
};

// x, y from the middle of the first pixel.
struct PointSearch {
    float start[2];  // in the earlier frame
    float guess[2];  // in the later one
};

struct FollowedPoint {
    float there[2];  // in the later frame
    float back[2];   // from there in the earlier one
    float min_eigenvalue;
    int has_converged;  // there and back
};

// Where in the earlier frame a pixel of the later one comes from: (x, y, 1) times these.
struct CameraMap {
    float x[3];
    float y[3];
    int is_used;  // else it stays where it is
};
